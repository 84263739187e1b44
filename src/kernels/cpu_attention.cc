// Attention over the paged cache. Positions are cut into partitions of kPartitionLen, counted from
// position 0; a query's result is its partitions' results merged in ascending order. That order is
// a matter of positions alone, so chunking, batching and threads cannot change a result.
#include "kernels/cpu_attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu_device.h"

namespace hearth {
namespace {

constexpr std::size_t kBlocksPerPartition = kPartitionLen / kVirtualLanes;
// Below this many multiply-adds the calling thread is done before the others have woken.
constexpr std::size_t kMinForkMacs = 32 * 1024;
constexpr std::size_t kSlotsPerThread = 16;
// With more tiles than this, whole tiles keep all threads busy.
constexpr std::size_t kMaxSplitTilesPerThread = 4;

// What a tile's queries get out of one partition. Queries are in row order, so those of a head that
// see anything of it are consecutive. Maxima, sums and outputs: [key/value heads, query_stride],
// beginning with the first query that sees anything.
struct PartialResult {
  std::size_t first_query = 0;
  std::size_t num_queries = 0;  // Per key/value head.
  float maxima[kMaxTileQueries];
  float sums[kMaxTileQueries];
  float* out = nullptr;  // value_dim each
};

// The merged result of a tile's queries so far.
struct TileState {
  AttentionState queries[kMaxTileQueries] = {};
  float* out = nullptr;  // [kMaxTileQueries, value_dim]
};

std::size_t divide_up(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

// Floats of one tile's queries or outputs, whichever are longer.
std::size_t tile_floats(std::size_t max_dim) {
  return kMaxTileQueries * max_dim;
}

// A call cut into tiles: consecutive rows of one sequence x the query heads of one key/value head,
// at most kMaxTileQueries together, so that each key and value is loaded once for all of them. With
// few rows, as in decoding, a tile takes in several key/value heads, whose blocks adjoin.
struct AttentionJob : AttentionCall {
  float* zeros = nullptr;  // [head_dim], not to be written to.

  std::size_t head_dim() const { return params->heads.head_dim; }
  std::size_t value_dim() const { return params->heads.value_len(); }
  std::size_t max_dim() const { return std::max(head_dim(), value_dim()); }
  std::size_t group_size() const { return params->heads.num_heads / params->heads.num_kv_heads; }
  std::size_t heads_per_tile() const { return std::min(group_size(), kMaxTileQueries); }
  std::size_t rows_per_tile() const { return kMaxTileQueries / heads_per_tile(); }
  std::size_t head_tiles() const { return divide_up(group_size(), heads_per_tile()); }
  std::size_t row_tiles(const SequenceRows& sequence) const {
    return divide_up(sequence.num_rows, rows_per_tile());
  }
  std::size_t kv_heads_per_tile(const SequenceRows& sequence) const {
    if (head_tiles() > 1) return 1;
    const std::size_t rows = std::min(sequence.num_rows, rows_per_tile());
    return std::min(kMaxTileQueries / (rows * group_size()), params->heads.num_kv_heads);
  }
  std::size_t kv_head_tiles(const SequenceRows& sequence) const {
    return divide_up(params->heads.num_kv_heads, kv_heads_per_tile(sequence));
  }
  std::size_t tiles_of(const SequenceRows& sequence) const {
    return row_tiles(sequence) * head_tiles() * kv_head_tiles(sequence);
  }
};

// One tile: query i of a key/value head is row i / num_heads of the tile, and head
// first_head + i % num_heads of those that share the keys and values.
struct QueryTile {
  const SequenceRows* sequence = nullptr;
  std::size_t first_kv_head = 0;
  std::size_t num_kv_heads = 0;
  std::size_t first_head = 0;
  std::size_t num_heads = 0;
  std::size_t first_row = 0;  // Within the sequence.
  std::size_t num_rows = 0;

  std::size_t num_queries() const { return num_rows * num_heads; }  // Per key/value head.
  std::size_t row_of(std::size_t query) const {
    return sequence->first_row + first_row + query / num_heads;
  }
  std::size_t position_of(std::size_t query) const {
    return sequence->first_position + first_row + query / num_heads;
  }
  // body(place, row, head) for every query: its place among all, its row of the batch and its head.
  template <typename Body>
  void for_each_query(std::size_t group_size, Body body) const {
    for (std::size_t place = 0; place < num_kv_heads * num_queries(); ++place) {
      const std::size_t query = place % num_queries();
      const std::size_t kv_head = first_kv_head + place / num_queries();
      body(place, row_of(query), kv_head * group_size + first_head + query % num_heads);
    }
  }
};

QueryTile find_tile(const AttentionJob& job, std::size_t idx) {
  const SequenceRows* sequence = job.sequences.data();
  for (; idx >= job.tiles_of(*sequence); ++sequence)
    idx -= job.tiles_of(*sequence);
  QueryTile tile;
  tile.sequence = sequence;
  // Row tiles vary fastest: threads then work on the same keys and values.
  const std::size_t row_tiles = job.row_tiles(*sequence);
  tile.first_row = idx % row_tiles * job.rows_per_tile();
  tile.num_rows = std::min(job.rows_per_tile(), sequence->num_rows - tile.first_row);
  const std::size_t head_tile = idx / row_tiles;
  const std::size_t kv_heads = job.kv_heads_per_tile(*sequence);
  tile.first_kv_head = head_tile / job.head_tiles() * kv_heads;
  tile.num_kv_heads = std::min(kv_heads, job.params->heads.num_kv_heads - tile.first_kv_head);
  tile.first_head = head_tile % job.head_tiles() * job.heads_per_tile();
  tile.num_heads = std::min(job.heads_per_tile(), job.group_size() - tile.first_head);
  return tile;
}

void load_queries(const AttentionJob& job, const QueryTile& tile, float* queries) {
  const std::size_t head_dim = job.head_dim();
  tile.for_each_query(job.group_size(), [&](std::size_t place, std::size_t row, std::size_t head) {
    const float* q = job.q.row(row) + head * head_dim;
    float* scaled = queries + place * head_dim;
    for (std::size_t d = 0; d < head_dim; ++d)
      scaled[d] = q[d] * job.params->scale;
  });
}

// First position that a query at `position` attends to.
std::size_t window_begin(const AttentionParams& params, std::size_t position) {
  if (params.sliding_window == 0) return 0;
  const std::size_t reach =
      params.bidirectional ? params.sliding_window / 2 : params.sliding_window - 1;
  return position < reach ? 0 : position - reach;
}

// One past the last one.
std::size_t window_end(const AttentionParams& params, const SequenceRows& sequence,
                       std::size_t position) {
  if (!params.bidirectional) return position + 1;
  const std::size_t end = sequence.first_position + sequence.num_rows;
  if (params.sliding_window == 0) return end;
  return std::min(end, position + params.sliding_window / 2 + 1);
}

std::size_t first_partition(const AttentionJob& job, const QueryTile& tile) {
  return window_begin(*job.params, tile.position_of(0)) / kPartitionLen;
}

// The last position that any query of the tile attends to.
std::size_t last_seen(const AttentionJob& job, const QueryTile& tile) {
  return window_end(*job.params, *tile.sequence, tile.position_of(tile.num_queries() - 1)) - 1;
}

std::size_t last_partition(const AttentionJob& job, const QueryTile& tile) {
  return last_seen(job, tile) / kPartitionLen;
}

// How many lane blocks ahead of their use keys and values are prefetched.
constexpr std::size_t kPrefetchBlocks = 4;

// What each query of a head sees of one partition; first_query and num_queries as in PartialResult.
struct PartitionView {
  std::size_t first_query = 0;
  std::size_t num_queries = 0;
  std::uint32_t begins[kMaxTileQueries];
  std::uint32_t ends[kMaxTileQueries];
  float positions[kMaxTileQueries];  // Of the queries, from the partition's start.
  KvLanes lanes[kBlocksPerPartition];
};

// Lanes of the positions from `slot` of a block.
KvLanes lanes_at(const AttentionJob& job, std::size_t block, std::size_t kv_head,
                 std::size_t slot) {
  const KvLayerView& cache = *job.cache;
  const std::size_t element = cache.dtype == DType::kF16 ? 2 : 1;
  const std::size_t scale = slot * sizeof(std::uint16_t);
  const std::byte* keys = cache.k + cache.key_offset(block, kv_head);
  const std::byte* values = cache.v + cache.value_offset(block, kv_head);
  return {.keys = keys + slot * element,
          .values = values + slot * job.value_dim() * element,
          .key_scales = keys + job.head_dim() * cache.block_size + scale,
          .value_scales = values + job.value_dim() * cache.block_size + scale};
}

KvLanes find_lanes(const AttentionJob& job, const QueryTile& tile, std::size_t position) {
  const std::size_t block_size = job.cache->block_size;
  const auto block = static_cast<std::size_t>(tile.sequence->block_table[position / block_size]);
  return lanes_at(job, block, tile.first_kv_head, position % block_size);
}

// Memory is read in the order keys of the partition, its values, keys of the next partition: each
// step prefetches what comes kPrefetchBlocks later. Steps without such prefetch themselves again.
void plan_prefetches(const AttentionJob& job, const QueryTile& tile, std::size_t partition,
                     std::span<KvLanes> lanes) {
  const std::size_t last_position = last_seen(job, tile);
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const std::size_t later = i + kPrefetchBlocks;
    const bool within = later < lanes.size();
    lanes[i].after_keys =
        within ? lanes[later].keys : lanes[std::min(later - lanes.size(), i)].values;
    lanes[i].after_values = within ? lanes[later].values : lanes[i].values;
    if (within) continue;
    const std::size_t next =
        (partition + 1) * kPartitionLen + (later - lanes.size()) * kVirtualLanes;
    if (next <= last_position) lanes[i].after_values = find_lanes(job, tile, next).keys;
  }
}

void view_partition(const AttentionJob& job, const QueryTile& tile, std::size_t partition,
                    PartitionView& view) {
  const std::size_t start = partition * kPartitionLen;
  std::size_t begin = kPartitionLen;
  std::size_t end = 0;
  for (std::size_t i = 0; i < tile.num_queries(); ++i) {
    const std::size_t position = tile.position_of(i);
    const std::size_t from = std::max(window_begin(*job.params, position), start) - start;
    const std::size_t seen = window_end(*job.params, *tile.sequence, position);
    const std::size_t to = std::max(std::min(seen, start + kPartitionLen), start) - start;
    if (from >= to) continue;
    if (view.num_queries == 0) view.first_query = i;
    view.begins[view.num_queries] = static_cast<std::uint32_t>(from);
    view.ends[view.num_queries] = static_cast<std::uint32_t>(to);
    view.positions[view.num_queries] = static_cast<float>(position) - static_cast<float>(start);
    ++view.num_queries;
    begin = std::min(begin, from);
    end = std::max(end, to);
  }
  const std::size_t end_block = divide_up(end, kVirtualLanes);
  for (std::size_t i = begin / kVirtualLanes; i < end_block; ++i)
    view.lanes[i] = find_lanes(job, tile, start + i * kVirtualLanes);
  plan_prefetches(job, tile, partition,
                  {view.lanes + begin / kVirtualLanes, view.lanes + end_block});
}

// Of every query the bias of the partition's first position.
void place_biases(const AttentionJob& job, const QueryTile& tile, std::size_t partition,
                  const float** biases) {
  const DistanceBiases& table = job.params->distance_biases;
  const std::size_t first_key = table.reach + partition * kPartitionLen;
  tile.for_each_query(job.group_size(), [&](std::size_t place, std::size_t, std::size_t head) {
    const std::size_t position = tile.position_of(place % tile.num_queries());
    biases[place] = table.values + head * table.stride() + (first_key - position);
  });
}

// `scratch` holds the tile's queries, then room for scores.
void attend_partition(const AttentionJob& job, const QueryTile& tile, std::size_t partition,
                      float* scratch, PartialResult& result) {
  PartitionView view;
  view_partition(job, tile, partition, view);
  result.first_query = view.first_query;
  result.num_queries = view.num_queries;
  const auto format = job.cache->dtype == DType::kF16 ? KvFormat::kF16 : KvFormat::kQ8_0;
  const auto attend = job.kernels->attend[static_cast<std::size_t>(format)];
  float slopes[kMaxTileQueries];
  const float* const alibi = job.params->alibi_slopes;
  if (alibi != nullptr) {
    tile.for_each_query(job.group_size(), [&](std::size_t place, std::size_t, std::size_t head) {
      slopes[place] = alibi[head];
    });
  }
  const float* biases[kMaxTileQueries];
  const DistanceBiases& table = job.params->distance_biases;
  if (table.values != nullptr) place_biases(job, tile, partition, biases);
  attend({.num_heads = tile.num_kv_heads,
          .num_queries = view.num_queries,
          .query_stride = tile.num_queries(),
          .head_dim = job.head_dim(),
          .value_dim = job.value_dim(),
          .queries = scratch + view.first_query * job.head_dim(),
          .lanes = view.lanes,
          .block_size = job.cache->block_size,
          .head_stride = job.cache->head_stride,
          .value_head_stride = job.cache->value_head_stride,
          .begins = view.begins,
          .ends = view.ends,
          .softcap = job.params->logit_softcap,
          .slopes = alibi != nullptr ? slopes + view.first_query : nullptr,
          .query_positions = view.positions,
          .biases = table.values != nullptr ? biases + view.first_query : nullptr,
          .scores = scratch + tile_floats(job.max_dim()),
          .maxima = result.maxima,
          .sums = result.sums,
          .out = result.out});
}

void merge_partition(const AttentionJob& job, const QueryTile& tile, const PartialResult& part,
                     TileState& state) {
  const std::size_t value_dim = job.value_dim();
  for (std::size_t i = 0; i < part.num_queries * tile.num_kv_heads; ++i) {
    const std::size_t head = i / part.num_queries;
    const std::size_t from = head * tile.num_queries() + i % part.num_queries;
    const std::size_t place = from + part.first_query;
    AttentionState& running = state.queries[place];
    const AttentionState added = {part.maxima[from], part.sums[from], part.out + from * value_dim};
    if (running.out == nullptr) {
      running = {added.max, added.sum, state.out + place * value_dim};
      std::memcpy(running.out, added.out, value_dim * sizeof(float));
    } else {
      job.kernels->merge_attention(running, added, value_dim);
    }
  }
}

// Sinks come last: one more partition of a single score, whose value is zero.
void write_tile(const AttentionJob& job, const QueryTile& tile, TileState& state) {
  const std::size_t value_dim = job.value_dim();
  const float* const sinks = job.params->sinks;
  tile.for_each_query(job.group_size(), [&](std::size_t place, std::size_t row, std::size_t head) {
    float* out = job.out.row(row) + head * value_dim;
    AttentionState& query = state.queries[place];
    if (sinks != nullptr)
      job.kernels->merge_attention(query, {sinks[head], 1.0f, job.zeros}, value_dim);
    const float inverse = 1.0f / query.sum;
    for (std::size_t d = 0; d < value_dim; ++d)
      out[d] = query.out[d] * inverse;
  });
}

// A worker's scratch: queries, scores, one partial result, one state.
std::size_t scratch_floats(std::size_t max_dim) {
  return 3 * tile_floats(max_dim) + kMaxTileQueries * kPartitionLen;
}

// A whole tile by one worker.
void run_tile(const AttentionJob& job, std::size_t idx, float* scratch) {
  const QueryTile tile = find_tile(job, idx);
  load_queries(job, tile, scratch);
  PartialResult part;
  part.out = scratch + tile_floats(job.max_dim()) + kMaxTileQueries * kPartitionLen;
  TileState state;
  state.out = part.out + tile_floats(job.max_dim());
  for (std::size_t p = first_partition(job, tile); p <= last_partition(job, tile); ++p) {
    attend_partition(job, tile, p, scratch, part);
    merge_partition(job, tile, part, state);
  }
  write_tile(job, tile, state);
}

}  // namespace

// Few tiles with long pasts, as in decoding: the partitions of all tiles are spread over the
// workers, then merged per tile. The slots hold so many partial results at a time.
struct SplitAttention {
  AlignedBuffer<float> memory;  // Of the slots, then of the states.
  std::vector<PartialResult> slots;
  std::vector<TileState> states;
};

namespace {

void run_split(const AttentionJob& job, std::size_t num_tiles, std::size_t num_partitions,
               ThreadPool& pool, AttentionMemory& memory) {
  SplitAttention& split = memory.split();
  const std::size_t slots_per_tile = split.slots.size() / num_tiles;
  const std::size_t floats = tile_floats(job.max_dim());
  for (std::size_t i = 0; i < split.slots.size(); ++i) {
    split.slots[i].out = split.memory.data() + i * floats;
  }
  for (std::size_t i = 0; i < num_tiles; ++i) {
    split.states[i] = {};
    split.states[i].out = split.memory.data() + (split.slots.size() + i) * floats;
  }
  for (std::size_t wave = 0; wave < num_partitions; wave += slots_per_tile) {
    const std::size_t wave_len = std::min(slots_per_tile, num_partitions - wave);
    pool.run(num_tiles * wave_len, [&](std::size_t task, std::size_t worker) {
      const QueryTile tile = find_tile(job, task % num_tiles);
      const std::size_t partition = first_partition(job, tile) + wave + task / num_tiles;
      PartialResult& slot = split.slots[task];
      slot.num_queries = 0;
      if (partition > last_partition(job, tile)) return;
      load_queries(job, tile, memory.scratch(worker));
      attend_partition(job, tile, partition, memory.scratch(worker), slot);
    });
    for (std::size_t task = 0; task < num_tiles * wave_len; ++task) {
      const std::size_t idx = task % num_tiles;
      merge_partition(job, find_tile(job, idx), split.slots[task], split.states[idx]);
    }
  }
  for (std::size_t i = 0; i < num_tiles; ++i)
    write_tile(job, find_tile(job, i), split.states[i]);
}

}  // namespace

AttentionMemory::AttentionMemory(std::size_t num_threads)
    : scratch_(num_threads), split_(std::make_unique<SplitAttention>()) {
  split_->slots.resize(num_threads * kSlotsPerThread);
  split_->states.resize(num_threads * kMaxSplitTilesPerThread);
}

AttentionMemory::~AttentionMemory() = default;

void AttentionMemory::reserve(std::size_t max_dim) {
  for (auto& scratch : scratch_)
    scratch.grow_to(scratch_floats(max_dim));
  if (max_dim > zeros_.size()) {
    zeros_.grow_to(max_dim);
    std::fill_n(zeros_.data(), max_dim, 0.0f);
  }
  split_->memory.grow_to((split_->slots.size() + split_->states.size()) * tile_floats(max_dim));
}

void run_attention(const AttentionCall& call, ThreadPool& pool, AttentionMemory& memory) {
  memory.reserve(std::max(call.params->heads.head_dim, call.params->heads.value_len()));
  const AttentionJob job{call, memory.zeros()};
  std::size_t num_tiles = 0;
  std::size_t macs = 0;
  std::size_t num_partitions = 0;
  for (const SequenceRows& sequence : call.sequences) {
    const std::size_t end = sequence.first_position + sequence.num_rows;
    num_tiles += job.tiles_of(sequence);
    macs += sequence.num_rows * end * call.q.cols;
    num_partitions = std::max(num_partitions, divide_up(end, kPartitionLen));
  }
  const std::size_t num_threads = pool.num_threads();
  if (macs < kMinForkMacs || num_threads == 1) {
    for (std::size_t idx = 0; idx < num_tiles; ++idx)
      run_tile(job, idx, memory.scratch(0));
  } else if (num_tiles <= num_threads * kMaxSplitTilesPerThread && num_partitions > 1) {
    run_split(job, num_tiles, num_partitions, pool, memory);
  } else {
    pool.run(num_tiles, [&](std::size_t idx, std::size_t worker) {
      run_tile(job, idx, memory.scratch(worker));
    });
  }
}

void CpuDevice::attention(ConstMatrixView q, std::span<const SequenceRows> sequences,
                          const AttentionParams& params, const KvLayerView& cache, MatrixView out) {
  const HeadShape& heads = params.heads;
  HEARTH_CHECK(heads.num_kv_heads > 0 && heads.num_heads % heads.num_kv_heads == 0);
  HEARTH_CHECK(cache.block_size > 0 && cache.block_size % kKvPositionLanes == 0);
  HEARTH_CHECK(cache.dtype == DType::kF16 || cache.dtype == DType::kQ8_0);
  HEARTH_CHECK(q.cols == heads.num_heads * heads.head_dim);
  HEARTH_CHECK(out.cols == heads.num_heads * heads.value_len());
  HEARTH_CHECK(params.alibi_slopes == nullptr || !params.bidirectional);
  if (params.distance_biases.values != nullptr) {
    for (const SequenceRows& sequence : sequences)
      HEARTH_CHECK(sequence.first_position + sequence.num_rows <= params.distance_biases.reach + 1);
  }
  run_attention({&kernels_, q, sequences, &params, &cache, out}, pool_, attention_memory_);
}

}  // namespace hearth
