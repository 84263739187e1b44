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

// What a tile's queries get out of one partition. Queries are in row order, so those that see
// anything of it are consecutive.
struct PartialResult {
  std::size_t first_query = 0;
  std::size_t num_queries = 0;
  float maxima[kMaxTileQueries];
  float sums[kMaxTileQueries];
  float* out = nullptr;  // [num_queries, head_dim]
};

// The merged result of a tile's queries so far.
struct TileState {
  AttentionState queries[kMaxTileQueries] = {};
  float* out = nullptr;  // [kMaxTileQueries, head_dim]
};

std::size_t divide_up(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

// Floats of one tile's queries or outputs.
std::size_t tile_floats(std::size_t head_dim) {
  return kMaxTileQueries * head_dim;
}

// A call cut into tiles: consecutive rows of one sequence x the query heads of one key/value head,
// at most kMaxTileQueries together, so that each key and value is loaded once for all of them.
struct AttentionJob : AttentionCall {
  std::size_t head_dim() const { return params->heads.head_dim; }
  std::size_t group_size() const { return params->heads.num_heads / params->heads.num_kv_heads; }
  std::size_t heads_per_tile() const { return std::min(group_size(), kMaxTileQueries); }
  std::size_t rows_per_tile() const { return kMaxTileQueries / heads_per_tile(); }
  std::size_t head_tiles() const { return divide_up(group_size(), heads_per_tile()); }
  std::size_t row_tiles(const SequenceRows& sequence) const {
    return divide_up(sequence.num_rows, rows_per_tile());
  }
  std::size_t tiles_of(const SequenceRows& sequence) const {
    return row_tiles(sequence) * head_tiles() * params->heads.num_kv_heads;
  }
};

// One tile: query i is row i / num_heads of it, head first_head + i % num_heads.
struct QueryTile {
  const SequenceRows* sequence = nullptr;
  std::size_t kv_head = 0;
  std::size_t first_head = 0;
  std::size_t num_heads = 0;
  std::size_t first_row = 0;  // Within the sequence.
  std::size_t num_rows = 0;

  std::size_t num_queries() const { return num_rows * num_heads; }
  std::size_t row_of(std::size_t query) const {
    return sequence->first_row + first_row + query / num_heads;
  }
  std::size_t head_of(std::size_t query) const { return first_head + query % num_heads; }
  std::size_t position_of(std::size_t query) const {
    return sequence->first_position + first_row + query / num_heads;
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
  tile.kv_head = head_tile / job.head_tiles();
  const std::size_t head_in_group = head_tile % job.head_tiles() * job.heads_per_tile();
  tile.first_head = tile.kv_head * job.group_size() + head_in_group;
  tile.num_heads = std::min(job.heads_per_tile(), job.group_size() - head_in_group);
  return tile;
}

void load_queries(const AttentionJob& job, const QueryTile& tile, float* queries) {
  const std::size_t head_dim = job.head_dim();
  for (std::size_t i = 0; i < tile.num_queries(); ++i) {
    const float* q = job.q.row(tile.row_of(i)) + tile.head_of(i) * head_dim;
    float* scaled = queries + i * head_dim;
    for (std::size_t d = 0; d < head_dim; ++d)
      scaled[d] = q[d] * job.params->scale;
  }
}

// First position that a query at `position` attends to.
std::size_t window_begin(const AttentionParams& params, std::size_t position) {
  if (params.sliding_window == 0 || position < params.sliding_window) return 0;
  return position + 1 - params.sliding_window;
}

std::size_t first_partition(const AttentionJob& job, const QueryTile& tile) {
  return window_begin(*job.params, tile.position_of(0)) / kPartitionLen;
}

std::size_t last_partition(const QueryTile& tile) {
  return tile.position_of(tile.num_queries() - 1) / kPartitionLen;
}

// What each query of a tile sees of one partition; first_query and num_queries as in PartialResult.
struct PartitionView {
  std::size_t first_query = 0;
  std::size_t num_queries = 0;
  std::uint32_t begins[kMaxTileQueries];
  std::uint32_t ends[kMaxTileQueries];
  const std::uint16_t* keys[kBlocksPerPartition];
  const std::uint16_t* values[kBlocksPerPartition];
};

void view_partition(const AttentionJob& job, const QueryTile& tile, std::size_t partition,
                    PartitionView& view) {
  const std::size_t start = partition * kPartitionLen;
  std::size_t begin = kPartitionLen;
  std::size_t end = 0;
  for (std::size_t i = 0; i < tile.num_queries(); ++i) {
    const std::size_t position = tile.position_of(i);
    const std::size_t from = std::max(window_begin(*job.params, position), start) - start;
    const std::size_t to = std::max(std::min(position + 1, start + kPartitionLen), start) - start;
    if (from >= to) continue;
    if (view.num_queries == 0) view.first_query = i;
    view.begins[view.num_queries] = static_cast<std::uint32_t>(from);
    view.ends[view.num_queries] = static_cast<std::uint32_t>(to);
    ++view.num_queries;
    begin = std::min(begin, from);
    end = std::max(end, to);
  }
  const KvLayerView& cache = *job.cache;
  for (std::size_t i = begin / kVirtualLanes; i * kVirtualLanes < end; ++i) {
    const std::size_t position = start + i * kVirtualLanes;
    const std::int32_t block = tile.sequence->block_table[position / cache.block_size];
    const std::size_t slot = position % cache.block_size;
    const std::size_t base =
        static_cast<std::size_t>(block) * cache.block_stride + tile.kv_head * cache.head_stride;
    view.keys[i] = cache.k + base + slot;
    view.values[i] = cache.v + base + slot * job.head_dim();
  }
}

// `scratch` holds the tile's queries, then room for scores.
void attend_partition(const AttentionJob& job, const QueryTile& tile, std::size_t partition,
                      float* scratch, PartialResult& result) {
  PartitionView view;
  view_partition(job, tile, partition, view);
  result.first_query = view.first_query;
  result.num_queries = view.num_queries;
  job.kernels->attend({.queries = scratch + view.first_query * job.head_dim(),
                       .num_queries = view.num_queries,
                       .head_dim = job.head_dim(),
                       .keys = view.keys,
                       .key_stride = job.cache->block_size,
                       .values = view.values,
                       .begins = view.begins,
                       .ends = view.ends,
                       .softcap = job.params->logit_softcap,
                       .scores = scratch + tile_floats(job.head_dim()),
                       .maxima = result.maxima,
                       .sums = result.sums,
                       .out = result.out});
}

void merge_partition(const AttentionJob& job, const PartialResult& part, TileState& state) {
  const std::size_t head_dim = job.head_dim();
  for (std::size_t i = 0; i < part.num_queries; ++i) {
    AttentionState& running = state.queries[part.first_query + i];
    const AttentionState added = {part.maxima[i], part.sums[i], part.out + i * head_dim};
    if (running.out == nullptr) {
      running = {added.max, added.sum, state.out + (part.first_query + i) * head_dim};
      std::memcpy(running.out, added.out, head_dim * sizeof(float));
    } else {
      job.kernels->merge_attention(running, added, head_dim);
    }
  }
}

void write_tile(const AttentionJob& job, const QueryTile& tile, const TileState& state) {
  const std::size_t head_dim = job.head_dim();
  for (std::size_t i = 0; i < tile.num_queries(); ++i) {
    float* out = job.out.row(tile.row_of(i)) + tile.head_of(i) * head_dim;
    const float inverse = 1.0f / state.queries[i].sum;
    for (std::size_t d = 0; d < head_dim; ++d)
      out[d] = state.queries[i].out[d] * inverse;
  }
}

// A worker's scratch: queries, scores, one partial result, one state.
std::size_t scratch_floats(std::size_t head_dim) {
  return 3 * tile_floats(head_dim) + kMaxTileQueries * kPartitionLen;
}

// A whole tile by one worker.
void run_tile(const AttentionJob& job, std::size_t idx, float* scratch) {
  const QueryTile tile = find_tile(job, idx);
  load_queries(job, tile, scratch);
  PartialResult part;
  part.out = scratch + tile_floats(job.head_dim()) + kMaxTileQueries * kPartitionLen;
  TileState state;
  state.out = part.out + tile_floats(job.head_dim());
  for (std::size_t p = first_partition(job, tile); p <= last_partition(tile); ++p) {
    attend_partition(job, tile, p, scratch, part);
    merge_partition(job, part, state);
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
  const std::size_t floats = tile_floats(job.head_dim());
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
      const QueryTile tile = find_tile(job, task / wave_len);
      const std::size_t partition = first_partition(job, tile) + wave + task % wave_len;
      PartialResult& slot = split.slots[task];
      slot.num_queries = 0;
      if (partition > last_partition(tile)) return;
      load_queries(job, tile, memory.scratch(worker));
      attend_partition(job, tile, partition, memory.scratch(worker), slot);
    });
    for (std::size_t task = 0; task < num_tiles * wave_len; ++task) {
      merge_partition(job, split.slots[task], split.states[task / wave_len]);
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

void AttentionMemory::reserve(std::size_t head_dim) {
  for (auto& scratch : scratch_)
    scratch.grow_to(scratch_floats(head_dim));
  split_->memory.grow_to((split_->slots.size() + split_->states.size()) * tile_floats(head_dim));
}

void run_attention(const AttentionCall& call, ThreadPool& pool, AttentionMemory& memory) {
  const AttentionJob job{call};
  memory.reserve(job.head_dim());
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
  HEARTH_CHECK(q.cols == heads.num_heads * heads.head_dim && out.cols == q.cols);
  run_attention({&kernels_, q, sequences, &params, &cache, out}, pool_, attention_memory_);
}

}  // namespace hearth
