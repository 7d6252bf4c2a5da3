/**
 * The parts of the request queue (queued-disk.ts): the request, the sorted batch of requests that can still grow, and
 * the requests in flight. A request is a run of bios with the same operation that are adjacent on the disk:
 *
 *   request [offset, offset + length)   first ─▶ bio ─▶ bio ─▶ last      linked by bio.next, in order of offset
 *   bio     submitted to the disk: its data is that of the bios if they are contiguous in memory, else the staging
 */
import { assert } from '../base/assert.ts';
import { Bio, BioOp, type BioOwner, overlaps, type Range } from './bio.ts';
import type { DiskLimits } from './ops.ts';

/** Maximum length of a merged request without data, bytes. */
const DATALESS_BYTES_MAX = 2 ** 31;

const carriesData = (op: BioOp): boolean => op === BioOp.read || op === BioOp.write;

/** True when `behind` starts where `before` ends. */
const adjoins = (before: Range, behind: Range): boolean =>
  before.offset + before.length === behind.offset;

/** A run of adjacent bios with equal operation and flags, sent to the disk as one bio. */
export class Request implements BioOwner, Range {
  readonly bio: Bio = new Bio();
  op: BioOp = BioOp.read;
  flags = 0;
  offset = 0;
  length = 0;
  first: Bio | null = null;
  /** Number of bios in the list. */
  count = 0;
  /** After a failure: the bio that is resent alone. */
  resent: Bio | null = null;
  /** Index among the requests in flight: selects its staging. */
  slot = 0;
  /** Link in the list of free requests. */
  nextFree: Request | null = null;
  #last: Bio | null = null;
  readonly #onEnd: (request: Request) => void;

  constructor(onEnd: (request: Request) => void) {
    this.#onEnd = onEnd;
  }

  bioEnd(): void {
    this.#onEnd(this);
  }

  start(bio: Bio): void {
    assert(this.first === null, 'the request is free');
    this.op = bio.op;
    this.flags = bio.flags;
    this.offset = bio.offset;
    this.length = bio.length;
    this.first = bio;
    this.#last = bio;
    this.count = 1;
  }

  /** Adds a bio that starts where the request ends. */
  append(bio: Bio): void {
    this.#last!.next = bio;
    this.#last = bio;
    this.length += bio.length;
    this.count++;
  }

  /** Adds a bio that ends where the request starts. */
  prepend(bio: Bio): void {
    bio.next = this.first;
    this.first = bio;
    this.offset = bio.offset;
    this.length += bio.length;
    this.count++;
  }

  /** Moves all bios of `other`, which starts where this request ends, to this request. */
  absorb(other: Request): void {
    this.#last!.next = other.first;
    this.#last = other.#last;
    this.length += other.length;
    this.count += other.count;
    other.clear();
  }

  /** Removes the bios. Returns the first of the list. */
  clear(): Bio {
    const { first } = this;
    assert(first !== null, 'the request has bios');
    this.first = null;
    this.#last = null;
    this.resent = null;
    this.count = 0;
    return first;
  }

  /** True when the bytes of the bios are contiguous in one array. */
  isContiguous(): boolean {
    for (let bio = this.first; bio !== null && bio.next !== null; bio = bio.next)
      if (bio.next.data !== bio.data || bio.next.at !== bio.at + bio.length) return false;
    return true;
  }

  gather(into: Uint8Array, at: number): void {
    let to = at;
    for (let bio = this.first; bio !== null; bio = bio.next) {
      into.set(bio.data.subarray(bio.at, bio.at + bio.length), to);
      to += bio.length;
    }
  }

  scatter(from: Uint8Array, at: number): void {
    let source = at;
    for (let bio = this.first; bio !== null; bio = bio.next) {
      bio.data.set(from.subarray(source, source + bio.length), bio.at);
      source += bio.length;
    }
  }
}

/** The requests not yet sent, disjoint and sorted by offset, and the free requests. */
export class Batch {
  readonly #mergeBytes: number;
  readonly #discardGranularityBytes: number;
  readonly #sorted: (Request | null)[];
  #length = 0;
  #free: Request | null = null;
  /** End of the last request sent: the elevator continues upwards from here, then wraps to the lowest offset. */
  readonly #position = { offset: 0, length: 0 };

  constructor(
    { requests, mergeBytes }: { readonly requests: number; readonly mergeBytes: number },
    { discardGranularityBytes }: DiskLimits,
    onEnd: (request: Request) => void,
  ) {
    this.#mergeBytes = mergeBytes;
    this.#discardGranularityBytes = discardGranularityBytes;
    this.#sorted = new Array<Request | null>(requests).fill(null);
    for (let i = 0; i < requests; i++) this.free(new Request(onEnd));
  }

  get length(): number {
    return this.#length;
  }

  get hasFree(): boolean {
    return this.#free !== null;
  }

  free(request: Request): void {
    request.nextFree = this.#free;
    this.#free = request;
  }

  alloc(): Request {
    const request = this.#free;
    assert(request !== null, 'a request is free');
    this.#free = request.nextFree;
    request.nextFree = null;
    return request;
  }

  touches(range: Range): boolean {
    const at = this.#search(range);
    if (at > 0 && overlaps(this.#sorted[at - 1]!, range)) return true;
    return at < this.#length && overlaps(this.#sorted[at]!, range);
  }

  /** Adds a bio that overlaps no request: merges it with a neighbour if possible, else starts a new request. */
  add(bio: Bio): void {
    const at = this.#search(bio);
    const before = at > 0 ? this.#sorted[at - 1]! : null;
    const behind = at < this.#length ? this.#sorted[at]! : null;
    if (before !== null && adjoins(before, bio) && this.#mayMerge(before, bio)) {
      before.append(bio);
      if (behind !== null && adjoins(before, behind) && this.#mayMerge(before, behind)) {
        before.absorb(behind);
        this.free(this.#removeAt(at));
      }
    } else if (behind !== null && adjoins(bio, behind)) {
      if (this.#mayMerge(behind, bio)) behind.prepend(bio);
      else this.#insertAt(at, bio);
    } else this.#insertAt(at, bio);
  }

  /** Removes the next request to send, in upward sweeps; null when there is none. */
  shift(): Request | null {
    if (this.#length === 0) return null;
    const at = this.#search(this.#position);
    const request = this.#removeAt(at < this.#length ? at : 0);
    this.#position.offset = request.offset + request.length;
    return request;
  }

  #mayMerge(request: Request, other: Request | Bio): boolean {
    if (request.op !== other.op || request.flags !== other.flags) return false;
    const length = request.length + other.length;
    if (carriesData(request.op)) return length <= this.#mergeBytes;
    // Merging two partial units would discard a unit that neither bio covers.
    const seam = Math.max(request.offset, other.offset);
    return seam % this.#discardGranularityBytes === 0 && length <= DATALESS_BYTES_MAX;
  }

  #insertAt(at: number, bio: Bio): void {
    const request = this.alloc();
    request.start(bio);
    for (let i = this.#length; i > at; i--) this.#sorted[i] = this.#sorted[i - 1]!;
    this.#sorted[at] = request;
    this.#length++;
  }

  #removeAt(at: number): Request {
    const request = this.#sorted[at]!;
    this.#length--;
    for (let i = at; i < this.#length; i++) this.#sorted[i] = this.#sorted[i + 1]!;
    this.#sorted[this.#length] = null;
    return request;
  }

  /** Index of the first request whose offset is not below that of the range. */
  #search(range: Range): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle]!.offset < range.offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The requests in flight, each with a staging for merged bytes. */
export class InFlight {
  readonly #requests: (Request | null)[];
  readonly #staging: Uint8Array;
  readonly #mergeBytes: number;
  #count = 0;

  constructor(depth: number, mergeBytes: number) {
    this.#requests = new Array<Request | null>(depth).fill(null);
    this.#staging = new Uint8Array(depth * mergeBytes);
    this.#mergeBytes = mergeBytes;
  }

  get count(): number {
    return this.#count;
  }

  get hasFree(): boolean {
    return this.#count < this.#requests.length;
  }

  touches(range: Range): boolean {
    for (let i = 0; i < this.#requests.length; i++) {
      const request = this.#requests[i]!;
      if (request !== null && overlaps(request, range)) return true;
    }
    return false;
  }

  /** Prepares the bio of the request for the disk. Returns the number of bytes copied to the staging. */
  add(request: Request): number {
    const { bio, first } = request;
    request.slot = this.#requests.indexOf(null);
    this.#requests[request.slot] = request;
    this.#count++;
    bio.op = request.op;
    bio.flags = request.flags;
    bio.offset = request.offset;
    bio.length = request.length;
    bio.owner = request;
    bio.data = first!.data;
    bio.at = first!.at;
    if (!carriesData(request.op) || request.isContiguous()) return 0;
    bio.data = this.#staging;
    bio.at = request.slot * this.#mergeBytes;
    if (request.op === BioOp.write) request.gather(bio.data, bio.at);
    return request.length;
  }

  /** Removes a completed request; copies bytes read into the staging to its bios. */
  remove(request: Request): void {
    const { bio } = request;
    if (bio.data === this.#staging && bio.op === BioOp.read && request.resent === null)
      request.scatter(bio.data, bio.at);
    bio.reset();
    this.#requests[request.slot] = null;
    this.#count--;
  }
}
