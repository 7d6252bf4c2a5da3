/** A ramzswap disk over a backing that ends bios only on request, and pages for RAM and for the backing. */
import assert from 'node:assert/strict';
import { Prng } from '../../../src/base/prng.ts';
import { type Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import type { BackingOptions } from '../../../src/block/disks/ramzswap/backing.ts';
import { Ramzswap, type RamzswapOptions } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { FakeReturns } from '../../support/fakes/fake-returns.ts';
import { ShuffledDisk } from '../../support/fakes/shuffled-disk.ts';
import { Sender } from '../../support/fixtures/bio-sender.ts';
import { madePages, type PageKind } from '../../support/fixtures/pages.ts';

export const PAGE = 4096;
export const ZEROS: Uint8Array = new Uint8Array(PAGE);

export const made = (kind: PageKind, seed: number, pages = 1): Uint8Array =>
  madePages(kind, seed, pages);

/** Compresses to about a quarter of a page. */
export function good(seed: number): Uint8Array {
  const page = new Uint8Array(PAGE).fill(7);
  new Prng(seed).fill(page.subarray(0, 1000));
  return page;
}

/** Random bytes, then one repeated byte: compresses to a little more than `noiseBytes`. */
export function noiseOf(noiseBytes: number): Uint8Array {
  const page = new Uint8Array(PAGE).fill(7);
  new Prng(noiseBytes).fill(page.subarray(0, noiseBytes));
  return page;
}

interface Rig {
  readonly disk: Ramzswap;
  readonly sender: Sender;
  /** Ends no bio while isHolding is set. */
  readonly backing: ShuffledDisk;
}

export function openOver(
  backing: BackingOptions['disk'],
  more: Partial<Omit<RamzswapOptions, 'backing'>> & Partial<BackingOptions> = {},
): { disk: Ramzswap; sender: Sender } {
  const { showsOldData: isShown = false, bioCount = 8, ...rest } = more;
  const disk = new Ramzswap({
    sizeBytes: backing.sizeBytes,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
    release: new FakeReturns().factory,
    backing: { disk: backing, showsOldData: isShown, bioCount },
    ...rest,
  });
  return { disk, sender: new Sender(disk) };
}

export class PatientDisk extends ShuffledDisk {
  isHolding = false;
  override tick(): number {
    if (this.isHolding) return 0;
    let ended = 0;
    for (; this.inFlight.length > 0; ended++) this.end(0);
    return ended;
  }
}

export function open(
  pages: number,
  more: Parameters<typeof openOver>[1] = {},
): Rig & { readonly backing: PatientDisk } {
  const backing = new PatientDisk(pages * PAGE, new Prng(1));
  return { backing, ...openOver(backing, more) };
}

export const write = (sender: Sender, page: number, data: Uint8Array): Bio =>
  sender.run({ op: BioOp.write, offset: page * PAGE, data: data.slice() });
export const read = (sender: Sender, page: number): Uint8Array => {
  const bio = sender.run({ op: BioOp.read, offset: page * PAGE, data: new Uint8Array(PAGE) });
  assert.equal(bio.status, BioStatus.ok);
  return bio.data;
};
export const atBacking = ({ bytes }: ShuffledDisk, page: number): Uint8Array =>
  bytes.slice(page * PAGE, (page + 1) * PAGE);
