#include "eval/calibration_text.h"

namespace hearth {

std::string_view calibration_text() {
  return R"text(The ferry left the harbour a little after six, when the lamps along the quay were
still lit. Most of the passengers stayed below, where it was warm and smelled of coffee, but two
of them stood at the rail and watched the town grow small. They had not spoken for some time.

"You could have told me earlier," she said at last.

"I could have," he answered. "I thought you would try to talk me out of it."

"I would have. That is what friends are for." She turned up her collar. "How long will you be
gone?"

"Three years, if the grant is not cut. Less if I find out that I was wrong."

She laughed at that. The island was only a grey line by now, and behind it the first light came up
over the water. Neither of them knew that the letter which would change everything was already in
the post.

How a refrigerator works

A refrigerator does not make cold; it moves heat from one place to another. A liquid with a low
boiling point evaporates in the tubes inside the box and takes up heat as it does so. A compressor
then squeezes the vapour, which makes it hot, and pumps it through the coils at the back, where it
gives its heat to the kitchen and becomes liquid again. A narrow valve lets the liquid expand, its
temperature falls, and the cycle begins anew. The energy that the compressor needs comes out as
heat as well, so an open refrigerator warms the room it stands in.

To make bread you need 500 grams of flour, 350 millilitres of water, 10 grams of salt and 3 grams
of dry yeast.
1. Mix everything in a large bowl until no dry flour is left.
2. Cover the bowl and let the dough rest for twelve hours at room temperature.
3. Fold it four times, shape it into a ball and let it rise for another hour.
4. Heat the oven to 240 degrees with an iron pot inside.
5. Bake for thirty minutes with the lid on and for fifteen minutes without it.

def moving_average(values, width):
    """Yields the mean of each run of `width` values."""
    if width < 1:
        raise ValueError("width must be at least 1")
    total = 0.0
    for index, value in enumerate(values):
        total += value
        if index >= width:
            total -= values[index - width]
        if index >= width - 1:
            yield total / width

print(list(moving_average([1, 2, 3, 4, 5, 6], 3)))  # [2.0, 3.0, 4.0, 5.0]

SELECT customers.name, COUNT(orders.id) AS number_of_orders, SUM(orders.amount) AS total
FROM customers LEFT JOIN orders ON orders.customer_id = customers.id
WHERE orders.created_at >= '2024-01-01'
GROUP BY customers.name
ORDER BY total DESC
LIMIT 10;

| month    | rain in mm | days of sun |
|----------|-----------:|------------:|
| January  |         62 |           9 |
| April    |         48 |          15 |
| July     |         71 |          21 |
| October  |         55 |          12 |

Question: A train leaves at 14:25 and arrives at 17:10. It covers 220 kilometres. How fast is it
on average?
Answer: The journey takes 2 hours and 45 minutes, which is 2.75 hours. 220 divided by 2.75 is 80,
so the train travels at 80 kilometres per hour on average.

Question: Why is the sky blue?
Answer: Sunlight contains all colours. The molecules of the air scatter short waves much more than
long ones, so blue light reaches our eyes from every direction, while red light mostly goes
straight on. In the evening the light has a longer way through the air; most of the blue is gone
by then, and the sky turns red.

Der Zug hielt in einem kleinen Bahnhof, den niemand kannte. Ein alter Mann stieg aus, sah sich um
und setzte sich auf die einzige Bank. Er hatte Zeit. Der letzte Zug ging erst am Abend, und bis
dahin wollte er noch einmal durch das Dorf gehen, in dem er vor vielen Jahren gewohnt hatte.

Dear Ms. Alvarez,
thank you for your message of 3 March. We have checked your invoice and found that the second item
was billed twice. We will refund 148.50 euros to your account within five working days. Please
accept our apologies for the mistake; if you have further questions, simply reply to this message.
Kind regards,
the accounting team

The history of the lighthouse is longer than its tower suggests. Sailors asked for one in 1743,
after two ships had been lost in a single night, but the money was only found forty years later.
The first keeper lit a fire of coal in an iron basket; his grandson cleaned the lenses of an oil
lamp; and the last keeper, who retired in 1987, switched on an electric light that could be seen
from twenty miles away. Today the lamp is controlled by a computer on the mainland. The rooms
below it are rented to guests, who come for the silence, stay for the storms, and write in the
visitors' book that they slept better than they had in years.

In conclusion, the results show three things. First, the method works as well on small samples as
on large ones. Second, its cost grows with the square of the number of variables, which limits its
use in practice. Third, the errors are not distributed evenly: they are largest where the data are
sparse. Future work should therefore look for ways to weight the observations, and it should test
them on data that were not used to choose the weights.
)text";
}

}  // namespace hearth
