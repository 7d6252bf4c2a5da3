// frontswap/register: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

const problems: ProblemSource;
let swap: MemorySwap | null;
function whenPaging(listener: (swap: MemorySwap) => void): void;
