/**
 * An external merge sort with runs in compressed RAM instead of temporary files: once in regions, which the kernel
 * pages by faults, and once in PagedArrays, which work on every system.
 *
 *   node build/examples/memory/sort.js [--full]
 *
 *   records ─▶ runs, each sorted in RAM ─▶ one array ─▶ merged in one pass, which frees what it has read
 */
import { openSwap } from '../../src/index.ts';
import { meter } from './meter.ts';
import { finish, lessMemory, optionsOf, runModes, sameAnswers, Work } from './side-by-side.ts';

const example = {
  name: 'sort',
  about: 'An external merge sort of sensor readings: all in RAM, in regions, in PagedArrays.',
  unit: 'records, 16 bytes each',
  small: { size: 6_000_000, resident: '32M' },
  full: { size: 16_000_000, resident: '64M' },
};
/** Words of a record: sensor, second, value, quality. */
const WORDS = 4;
const RUN = 2 ** 15;
const SECONDS = 2 ** 22;
/** Records of a run that are read at a time while runs are merged. */
const WINDOW = 256;

type Block = Uint32Array<ArrayBuffer>;

/** The operations on memory that the sort needs. */
interface Words {
  read(index: number, target: Block): unknown;
  write(index: number, source: Block): void;
  /** Frees bytes that are not read again. */
  discard(range: { readonly offset: number; readonly length: number }): void;
}

type Make = (words: number) => Words;

function inRam(words: number): Words {
  const array = new Uint32Array(words);
  return {
    read: (index, target) => target.set(array.subarray(index, index + target.length)),
    write: (index, source) => array.set(source, index),
    discard: () => {},
  };
}

/** @param transparent false: PagedArray pages by index */
function inSwap(residentBytes: number, transparent: boolean): Make {
  const swap = openSwap({ transparent });
  meter(swap);
  // Two arrays share the budget.
  return (length) => swap.array({ type: 'uint32', length, residentBytes: residentBytes / 2 });
}

let state = 2010;
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return Math.floor(((state >>> 0) / 2 ** 32) * limit);
}

/** Fills a run with readings in order of arrival and sorts it by sensor, then time. */
function sortedRun(first: number, length: number): Block {
  const raw = new Uint32Array(length * WORDS);
  const keys = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    const sensor = below(100);
    const second = (first + i) % SECONDS;
    raw.set([sensor, second, 2000 + below(64), below(1000) === 0 ? 1 : 0], i * WORDS);
    keys[i] = (sensor * SECONDS + second) * RUN + i;
  }
  keys.sort();
  const run = new Uint32Array(length * WORDS);
  for (let i = 0; i < length; i++) {
    const from = (keys[i]! % RUN) * WORDS;
    run.set(raw.subarray(from, from + WORDS), i * WORDS);
  }
  return run;
}

/** Reads one run from its start to its end. */
class Reader {
  key = 0;
  readonly window: Block = new Uint32Array(WINDOW * WORDS);
  at = 0;
  readonly #from: Words;
  #next: number;
  readonly #end: number;
  #left = 0;

  constructor(from: Words, first: number, end: number) {
    this.#from = from;
    this.#next = first;
    this.#end = end;
  }

  /** Advances to the next record; false at the end. */
  advance(): boolean {
    this.at += WORDS;
    if (--this.#left <= 0 && !this.#refill()) return false;
    this.key = this.window[this.at]! * SECONDS + this.window[this.at + 1]!;
    return true;
  }

  #refill(): boolean {
    const length = Math.min(WINDOW, this.#end - this.#next);
    if (length <= 0) return false;
    this.#from.read(this.#next * WORDS, this.window.subarray(0, length * WORDS));
    this.#from.discard({ offset: this.#next * WORDS * 4, length: length * WORDS * 4 });
    this.#next += length;
    this.#left = length;
    this.at = 0;
    return true;
  }
}

/** A heap of readers by key; writes the top record and advances its reader. */
function merge(readers: Reader[], emit: (window: Block, at: number) => void): void {
  const heap = readers.filter((reader) => reader.advance());
  const sink = (start: number): void => {
    for (let i = start; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && heap[child]!.key < heap[least]!.key) least = child;
      if (least === i) return;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  };
  for (let i = heap.length >> 1; i >= 0; i--) sink(i);
  while (heap.length > 0) {
    const top = heap[0]!;
    emit(top.window, top.at);
    if (!top.advance()) {
      const last = heap.pop()!;
      if (heap.length === 0) return;
      heap[0] = last;
    }
    sink(0);
  }
}

function work(count: number, make: Make): void {
  const steps = new Work();
  const runs = make(count * WORDS);
  const sorted = make(count * WORDS);
  steps.step('runs', () => {
    for (let first = 0; first < count; first += RUN)
      runs.write(first * WORDS, sortedRun(first, Math.min(RUN, count - first)));
    return Math.ceil(count / RUN);
  });
  steps.step('merge', () => {
    const readers: Reader[] = [];
    for (let first = 0; first < count; first += RUN)
      readers.push(new Reader(runs, first, Math.min(first + RUN, count)));
    const out = new Uint32Array(WINDOW * WORDS);
    let filled = 0;
    let written = 0;
    const flush = (): void => {
      sorted.write(written, out.subarray(0, filled));
      written += filled;
      filled = 0;
    };
    merge(readers, (window, at) => {
      out.set(window.subarray(at, at + WORDS), filled);
      filled += WORDS;
      if (filled === out.length) flush();
    });
    if (filled > 0) flush();
    return written / WORDS;
  });
  steps.step('check', () => checksum(sorted, count));
  steps.print(2 * count * WORDS * 4);
}

/** A hash of all words in order; throws if the records are not sorted. */
function checksum(sorted: Words, count: number): number {
  const window = new Uint32Array(WINDOW * WORDS);
  let hash = 0;
  let last = -1;
  for (let first = 0; first < count; first += WINDOW) {
    const part = window.subarray(0, Math.min(WINDOW, count - first) * WORDS);
    sorted.read(first * WORDS, part);
    for (let at = 0; at < part.length; at += WORDS) {
      const key = part[at]! * SECONDS + part[at + 1]!;
      if (key < last) throw new Error(`record ${first + at / WORDS} is out of order`);
      last = key;
      for (let i = 0; i < WORDS; i++) hash = (Math.imul(hash, 31) + part[at + i]!) | 0;
    }
  }
  return hash;
}

const options = optionsOf(example);
const { size, residentBytes, mode } = options;
if (mode === 'ram') work(size, inRam);
else if (mode === 'regions') work(size, inSwap(residentBytes, true));
else if (mode === 'arrays') work(size, inSwap(residentBytes, false));
else {
  const modes = { ram: 'in RAM', regions: 'regions', arrays: 'PagedArray' };
  const columns = await runModes(example, options, modes);
  finish(example, options, columns, [sameAnswers(columns), ...lessMemory(columns)]);
}
