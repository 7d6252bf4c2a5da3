/* Generated from layout.ts by scripts/build-native.mjs: do not edit. */
#define FS_VERSION 3
#define FS_REGIONS_MAX 16384
#define FS_SHARDS_MAX 32
#define FS_SHARD_SHIFT 19
#define FS_CLASSES_MAX 256
#define FS_ARRIVALS 65536
#define FS_WINDOW_PAGES 64
#define FS_WORKSPACES 16
#define FS_WORKSPACE_PAGES 68
#define FS_STREAMS 8
#define FS_HISTORY 16
#define FS_BATCH_PAGES 512
#define FS_THROTTLE_MS 20
#define FS_GRAVES 16
#define FS_RAM_AREA 0
#define FS_OFFSET_BITS 26
#define FS_AREAS_MAX 32
#define FS_CALLS 16
#define FS_PAGE_ABSENT 0
#define FS_PAGE_DIRTY 1
#define FS_PAGE_CLEAN 2
#define FS_PAGE_STORED 3
#define FS_PAGE_LOST 4
#define FS_PAGE_EVICTING 5
#define FS_PAGE_BUSY 6
#define FS_PAGE_ASKED 7
#define FS_PLACEMENT_MEASURED 0
#define FS_PLACEMENT_FOLLOWS 1
#define FS_PLACEMENT_HANDS_OVER 2
#define FS_ARRIVAL_PREFETCHED 65536
#define FS_ARRIVAL_WROTE 131072
#define FS_CALL_COPY 0
#define FS_CALL_ZEROPAGE 1
#define FS_CALL_WAKE 2
#define FS_CALL_PROTECT 3
#define FS_CALL_POISON 4
#define FS_CALL_MADVISE 5
#define FS_CALL_PROCESS_MADVISE 6
#define FS_CALL_VM_READV 7
#define FS_CALL_PREAD 8
#define FS_CALL_READ 9
#define FS_CALL_POLL 10
#define FS_CALL_FUTEX 11
#define FS_CALL_RING 12
#define FS_CALL_MMAP 13
#define FS_CALL_PWRITE 14
#define FS_CALL_PUNCH 15

struct fs_shard {
  uint64_t base;
  uint64_t bytes;
  uint32_t rows;
  uint32_t zspages;
  uint32_t zspageCount;
  uint32_t slots;
  uint32_t isReady;
};
_Static_assert(__builtin_offsetof(struct fs_shard, base) == 0, "base");
_Static_assert(__builtin_offsetof(struct fs_shard, bytes) == 8, "bytes");
_Static_assert(__builtin_offsetof(struct fs_shard, rows) == 16, "rows");
_Static_assert(__builtin_offsetof(struct fs_shard, zspages) == 20, "zspages");
_Static_assert(__builtin_offsetof(struct fs_shard, zspageCount) == 24, "zspageCount");
_Static_assert(__builtin_offsetof(struct fs_shard, slots) == 28, "slots");
_Static_assert(__builtin_offsetof(struct fs_shard, isReady) == 32, "isReady");
_Static_assert(sizeof(struct fs_shard) == 40, "fs_shard");

struct fs_area {
  uint64_t sums;
  uint64_t zeroBits;
  int32_t fd;
  uint32_t slots;
  uint32_t isReady;
  uint32_t spare;
};
_Static_assert(__builtin_offsetof(struct fs_area, sums) == 0, "sums");
_Static_assert(__builtin_offsetof(struct fs_area, zeroBits) == 8, "zeroBits");
_Static_assert(__builtin_offsetof(struct fs_area, fd) == 16, "fd");
_Static_assert(__builtin_offsetof(struct fs_area, slots) == 20, "slots");
_Static_assert(__builtin_offsetof(struct fs_area, isReady) == 24, "isReady");
_Static_assert(__builtin_offsetof(struct fs_area, spare) == 28, "spare");
_Static_assert(sizeof(struct fs_area) == 32, "fs_area");

struct fs_set {
  int32_t resident;
  int32_t high;
  int32_t ceiling;
  uint32_t evictions;
  uint32_t waiters;
  uint32_t isStuck;
  uint32_t spare[2];
};
_Static_assert(__builtin_offsetof(struct fs_set, resident) == 0, "resident");
_Static_assert(__builtin_offsetof(struct fs_set, high) == 4, "high");
_Static_assert(__builtin_offsetof(struct fs_set, ceiling) == 8, "ceiling");
_Static_assert(__builtin_offsetof(struct fs_set, evictions) == 12, "evictions");
_Static_assert(__builtin_offsetof(struct fs_set, waiters) == 16, "waiters");
_Static_assert(__builtin_offsetof(struct fs_set, isStuck) == 20, "isStuck");
_Static_assert(__builtin_offsetof(struct fs_set, spare) == 24, "spare");
_Static_assert(sizeof(struct fs_set) == 32, "fs_set");

struct fs_region {
  uint64_t address;
  uint64_t state;
  uint64_t entry;
  uint64_t set;
  uint64_t mapped;
  uint64_t pinned;
  int32_t fd;
  uint32_t accessible;
  uint32_t thinAt;
  uint32_t pages;
  uint32_t number;
  uint32_t rescan;
  uint32_t isWritable;
  uint32_t hand;
  uint32_t writeAt;
  uint32_t writeWindow;
  uint32_t streamNext;
  uint32_t historyAt;
  int32_t expected[8];
  int32_t strides[8];
  int32_t windows[8];
  int32_t history[16];
  uint64_t faults;
  uint64_t swapInFaults;
  uint64_t zeroFillFaults;
  uint64_t writeFaults;
  uint64_t spuriousFaults;
  uint64_t lostFaults;
  uint64_t pagesIn;
  uint64_t pagesPrefetched;
  uint64_t zerosPrefetched;
  uint64_t pagesDropped;
  uint64_t throttled;
};
_Static_assert(__builtin_offsetof(struct fs_region, address) == 0, "address");
_Static_assert(__builtin_offsetof(struct fs_region, state) == 8, "state");
_Static_assert(__builtin_offsetof(struct fs_region, entry) == 16, "entry");
_Static_assert(__builtin_offsetof(struct fs_region, set) == 24, "set");
_Static_assert(__builtin_offsetof(struct fs_region, mapped) == 32, "mapped");
_Static_assert(__builtin_offsetof(struct fs_region, pinned) == 40, "pinned");
_Static_assert(__builtin_offsetof(struct fs_region, fd) == 48, "fd");
_Static_assert(__builtin_offsetof(struct fs_region, accessible) == 52, "accessible");
_Static_assert(__builtin_offsetof(struct fs_region, thinAt) == 56, "thinAt");
_Static_assert(__builtin_offsetof(struct fs_region, pages) == 60, "pages");
_Static_assert(__builtin_offsetof(struct fs_region, number) == 64, "number");
_Static_assert(__builtin_offsetof(struct fs_region, rescan) == 68, "rescan");
_Static_assert(__builtin_offsetof(struct fs_region, isWritable) == 72, "isWritable");
_Static_assert(__builtin_offsetof(struct fs_region, hand) == 76, "hand");
_Static_assert(__builtin_offsetof(struct fs_region, writeAt) == 80, "writeAt");
_Static_assert(__builtin_offsetof(struct fs_region, writeWindow) == 84, "writeWindow");
_Static_assert(__builtin_offsetof(struct fs_region, streamNext) == 88, "streamNext");
_Static_assert(__builtin_offsetof(struct fs_region, historyAt) == 92, "historyAt");
_Static_assert(__builtin_offsetof(struct fs_region, expected) == 96, "expected");
_Static_assert(__builtin_offsetof(struct fs_region, strides) == 128, "strides");
_Static_assert(__builtin_offsetof(struct fs_region, windows) == 160, "windows");
_Static_assert(__builtin_offsetof(struct fs_region, history) == 192, "history");
_Static_assert(__builtin_offsetof(struct fs_region, faults) == 256, "faults");
_Static_assert(__builtin_offsetof(struct fs_region, swapInFaults) == 264, "swapInFaults");
_Static_assert(__builtin_offsetof(struct fs_region, zeroFillFaults) == 272, "zeroFillFaults");
_Static_assert(__builtin_offsetof(struct fs_region, writeFaults) == 280, "writeFaults");
_Static_assert(__builtin_offsetof(struct fs_region, spuriousFaults) == 288, "spuriousFaults");
_Static_assert(__builtin_offsetof(struct fs_region, lostFaults) == 296, "lostFaults");
_Static_assert(__builtin_offsetof(struct fs_region, pagesIn) == 304, "pagesIn");
_Static_assert(__builtin_offsetof(struct fs_region, pagesPrefetched) == 312, "pagesPrefetched");
_Static_assert(__builtin_offsetof(struct fs_region, zerosPrefetched) == 320, "zerosPrefetched");
_Static_assert(__builtin_offsetof(struct fs_region, pagesDropped) == 328, "pagesDropped");
_Static_assert(__builtin_offsetof(struct fs_region, throttled) == 336, "throttled");
_Static_assert(sizeof(struct fs_region) == 344, "fs_region");

struct fs_control {
  uint32_t version;
  int32_t uffd;
  int32_t engineFd;
  int32_t exitFd;
  int32_t pidfd;
  int32_t pid;
  int32_t engineTid;
  uint32_t hasPoison;
  uint32_t isGuarded;
  uint32_t isFrozen;
  uint32_t isRung;
  uint32_t epoch;
  uint32_t readers[2];
  uint32_t index;
  uint32_t regionCount[2];
  uint32_t workspaces;
  uint32_t head;
  uint32_t tail;
  int32_t threadTid;
  uint32_t hasEnded;
  uint32_t placement;
  uint32_t spinUs;
  uint32_t classCount;
  uint32_t fullPage;
  uint32_t zeroSlots;
  uint64_t zeroBits;
  uint64_t arrivals;
  uint64_t indexes[2];
  uint64_t regions;
  uint64_t workspaceMemory;
  uint64_t zeros;
  uint64_t graves[32];
  uint64_t buried[16];
  uint32_t graveNext;
  uint16_t classBytes[256];
  struct fs_shard shards[32];
  struct fs_area areas[32];
  uint64_t clock;
  uint64_t waiting;
  uint64_t waitedNs;
  uint32_t isTimed;
  uint32_t maps;
  uint32_t mapsMax;
  uint32_t isThinning;
  uint32_t handed;
  uint32_t failEvery[16];
  uint32_t failErrno[16];
  uint32_t failCalls[16];
};
_Static_assert(__builtin_offsetof(struct fs_control, version) == 0, "version");
_Static_assert(__builtin_offsetof(struct fs_control, uffd) == 4, "uffd");
_Static_assert(__builtin_offsetof(struct fs_control, engineFd) == 8, "engineFd");
_Static_assert(__builtin_offsetof(struct fs_control, exitFd) == 12, "exitFd");
_Static_assert(__builtin_offsetof(struct fs_control, pidfd) == 16, "pidfd");
_Static_assert(__builtin_offsetof(struct fs_control, pid) == 20, "pid");
_Static_assert(__builtin_offsetof(struct fs_control, engineTid) == 24, "engineTid");
_Static_assert(__builtin_offsetof(struct fs_control, hasPoison) == 28, "hasPoison");
_Static_assert(__builtin_offsetof(struct fs_control, isGuarded) == 32, "isGuarded");
_Static_assert(__builtin_offsetof(struct fs_control, isFrozen) == 36, "isFrozen");
_Static_assert(__builtin_offsetof(struct fs_control, isRung) == 40, "isRung");
_Static_assert(__builtin_offsetof(struct fs_control, epoch) == 44, "epoch");
_Static_assert(__builtin_offsetof(struct fs_control, readers) == 48, "readers");
_Static_assert(__builtin_offsetof(struct fs_control, index) == 56, "index");
_Static_assert(__builtin_offsetof(struct fs_control, regionCount) == 60, "regionCount");
_Static_assert(__builtin_offsetof(struct fs_control, workspaces) == 68, "workspaces");
_Static_assert(__builtin_offsetof(struct fs_control, head) == 72, "head");
_Static_assert(__builtin_offsetof(struct fs_control, tail) == 76, "tail");
_Static_assert(__builtin_offsetof(struct fs_control, threadTid) == 80, "threadTid");
_Static_assert(__builtin_offsetof(struct fs_control, hasEnded) == 84, "hasEnded");
_Static_assert(__builtin_offsetof(struct fs_control, placement) == 88, "placement");
_Static_assert(__builtin_offsetof(struct fs_control, spinUs) == 92, "spinUs");
_Static_assert(__builtin_offsetof(struct fs_control, classCount) == 96, "classCount");
_Static_assert(__builtin_offsetof(struct fs_control, fullPage) == 100, "fullPage");
_Static_assert(__builtin_offsetof(struct fs_control, zeroSlots) == 104, "zeroSlots");
_Static_assert(__builtin_offsetof(struct fs_control, zeroBits) == 112, "zeroBits");
_Static_assert(__builtin_offsetof(struct fs_control, arrivals) == 120, "arrivals");
_Static_assert(__builtin_offsetof(struct fs_control, indexes) == 128, "indexes");
_Static_assert(__builtin_offsetof(struct fs_control, regions) == 144, "regions");
_Static_assert(__builtin_offsetof(struct fs_control, workspaceMemory) == 152, "workspaceMemory");
_Static_assert(__builtin_offsetof(struct fs_control, zeros) == 160, "zeros");
_Static_assert(__builtin_offsetof(struct fs_control, graves) == 168, "graves");
_Static_assert(__builtin_offsetof(struct fs_control, buried) == 424, "buried");
_Static_assert(__builtin_offsetof(struct fs_control, graveNext) == 552, "graveNext");
_Static_assert(__builtin_offsetof(struct fs_control, classBytes) == 556, "classBytes");
_Static_assert(__builtin_offsetof(struct fs_control, shards) == 1072, "shards");
_Static_assert(__builtin_offsetof(struct fs_control, areas) == 2352, "areas");
_Static_assert(__builtin_offsetof(struct fs_control, clock) == 3376, "clock");
_Static_assert(__builtin_offsetof(struct fs_control, waiting) == 3384, "waiting");
_Static_assert(__builtin_offsetof(struct fs_control, waitedNs) == 3392, "waitedNs");
_Static_assert(__builtin_offsetof(struct fs_control, isTimed) == 3400, "isTimed");
_Static_assert(__builtin_offsetof(struct fs_control, maps) == 3404, "maps");
_Static_assert(__builtin_offsetof(struct fs_control, mapsMax) == 3408, "mapsMax");
_Static_assert(__builtin_offsetof(struct fs_control, isThinning) == 3412, "isThinning");
_Static_assert(__builtin_offsetof(struct fs_control, handed) == 3416, "handed");
_Static_assert(__builtin_offsetof(struct fs_control, failEvery) == 3420, "failEvery");
_Static_assert(__builtin_offsetof(struct fs_control, failErrno) == 3484, "failErrno");
_Static_assert(__builtin_offsetof(struct fs_control, failCalls) == 3548, "failCalls");
_Static_assert(sizeof(struct fs_control) == 3616, "fs_control");

#define FS_OFFSETS \
  __builtin_offsetof(struct fs_shard, base), \
  __builtin_offsetof(struct fs_shard, bytes), \
  __builtin_offsetof(struct fs_shard, rows), \
  __builtin_offsetof(struct fs_shard, zspages), \
  __builtin_offsetof(struct fs_shard, zspageCount), \
  __builtin_offsetof(struct fs_shard, slots), \
  __builtin_offsetof(struct fs_shard, isReady), \
  sizeof(struct fs_shard), \
  __builtin_offsetof(struct fs_area, sums), \
  __builtin_offsetof(struct fs_area, zeroBits), \
  __builtin_offsetof(struct fs_area, fd), \
  __builtin_offsetof(struct fs_area, slots), \
  __builtin_offsetof(struct fs_area, isReady), \
  __builtin_offsetof(struct fs_area, spare), \
  sizeof(struct fs_area), \
  __builtin_offsetof(struct fs_set, resident), \
  __builtin_offsetof(struct fs_set, high), \
  __builtin_offsetof(struct fs_set, ceiling), \
  __builtin_offsetof(struct fs_set, evictions), \
  __builtin_offsetof(struct fs_set, waiters), \
  __builtin_offsetof(struct fs_set, isStuck), \
  __builtin_offsetof(struct fs_set, spare), \
  sizeof(struct fs_set), \
  __builtin_offsetof(struct fs_region, address), \
  __builtin_offsetof(struct fs_region, state), \
  __builtin_offsetof(struct fs_region, entry), \
  __builtin_offsetof(struct fs_region, set), \
  __builtin_offsetof(struct fs_region, mapped), \
  __builtin_offsetof(struct fs_region, pinned), \
  __builtin_offsetof(struct fs_region, fd), \
  __builtin_offsetof(struct fs_region, accessible), \
  __builtin_offsetof(struct fs_region, thinAt), \
  __builtin_offsetof(struct fs_region, pages), \
  __builtin_offsetof(struct fs_region, number), \
  __builtin_offsetof(struct fs_region, rescan), \
  __builtin_offsetof(struct fs_region, isWritable), \
  __builtin_offsetof(struct fs_region, hand), \
  __builtin_offsetof(struct fs_region, writeAt), \
  __builtin_offsetof(struct fs_region, writeWindow), \
  __builtin_offsetof(struct fs_region, streamNext), \
  __builtin_offsetof(struct fs_region, historyAt), \
  __builtin_offsetof(struct fs_region, expected), \
  __builtin_offsetof(struct fs_region, strides), \
  __builtin_offsetof(struct fs_region, windows), \
  __builtin_offsetof(struct fs_region, history), \
  __builtin_offsetof(struct fs_region, faults), \
  __builtin_offsetof(struct fs_region, swapInFaults), \
  __builtin_offsetof(struct fs_region, zeroFillFaults), \
  __builtin_offsetof(struct fs_region, writeFaults), \
  __builtin_offsetof(struct fs_region, spuriousFaults), \
  __builtin_offsetof(struct fs_region, lostFaults), \
  __builtin_offsetof(struct fs_region, pagesIn), \
  __builtin_offsetof(struct fs_region, pagesPrefetched), \
  __builtin_offsetof(struct fs_region, zerosPrefetched), \
  __builtin_offsetof(struct fs_region, pagesDropped), \
  __builtin_offsetof(struct fs_region, throttled), \
  sizeof(struct fs_region), \
  __builtin_offsetof(struct fs_control, version), \
  __builtin_offsetof(struct fs_control, uffd), \
  __builtin_offsetof(struct fs_control, engineFd), \
  __builtin_offsetof(struct fs_control, exitFd), \
  __builtin_offsetof(struct fs_control, pidfd), \
  __builtin_offsetof(struct fs_control, pid), \
  __builtin_offsetof(struct fs_control, engineTid), \
  __builtin_offsetof(struct fs_control, hasPoison), \
  __builtin_offsetof(struct fs_control, isGuarded), \
  __builtin_offsetof(struct fs_control, isFrozen), \
  __builtin_offsetof(struct fs_control, isRung), \
  __builtin_offsetof(struct fs_control, epoch), \
  __builtin_offsetof(struct fs_control, readers), \
  __builtin_offsetof(struct fs_control, index), \
  __builtin_offsetof(struct fs_control, regionCount), \
  __builtin_offsetof(struct fs_control, workspaces), \
  __builtin_offsetof(struct fs_control, head), \
  __builtin_offsetof(struct fs_control, tail), \
  __builtin_offsetof(struct fs_control, threadTid), \
  __builtin_offsetof(struct fs_control, hasEnded), \
  __builtin_offsetof(struct fs_control, placement), \
  __builtin_offsetof(struct fs_control, spinUs), \
  __builtin_offsetof(struct fs_control, classCount), \
  __builtin_offsetof(struct fs_control, fullPage), \
  __builtin_offsetof(struct fs_control, zeroSlots), \
  __builtin_offsetof(struct fs_control, zeroBits), \
  __builtin_offsetof(struct fs_control, arrivals), \
  __builtin_offsetof(struct fs_control, indexes), \
  __builtin_offsetof(struct fs_control, regions), \
  __builtin_offsetof(struct fs_control, workspaceMemory), \
  __builtin_offsetof(struct fs_control, zeros), \
  __builtin_offsetof(struct fs_control, graves), \
  __builtin_offsetof(struct fs_control, buried), \
  __builtin_offsetof(struct fs_control, graveNext), \
  __builtin_offsetof(struct fs_control, classBytes), \
  __builtin_offsetof(struct fs_control, shards), \
  __builtin_offsetof(struct fs_control, areas), \
  __builtin_offsetof(struct fs_control, clock), \
  __builtin_offsetof(struct fs_control, waiting), \
  __builtin_offsetof(struct fs_control, waitedNs), \
  __builtin_offsetof(struct fs_control, isTimed), \
  __builtin_offsetof(struct fs_control, maps), \
  __builtin_offsetof(struct fs_control, mapsMax), \
  __builtin_offsetof(struct fs_control, isThinning), \
  __builtin_offsetof(struct fs_control, handed), \
  __builtin_offsetof(struct fs_control, failEvery), \
  __builtin_offsetof(struct fs_control, failErrno), \
  __builtin_offsetof(struct fs_control, failCalls), \
  sizeof(struct fs_control)
