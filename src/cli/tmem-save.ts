/** `frontswap tmem-save`: save the persistent pools of a user to a file. */
import { SwapError } from '../base/errors.ts';
import { askTmem, askTmemGate } from '../host/tmem-client.ts';
import { askTmemSave, expectedBytes } from '../host/tmem-transfer-client.ts';
import { NewFile } from '../os/new-file.ts';
import type { FileTail } from '../tmem/server/user-file.ts';
import { type Command, flag } from './command.ts';
import { stopSignals } from './signals.ts';
import { printDone, type UserCommandCall, userCommand } from './tmem-users.ts';
import { TransferProgress } from './transfer-progress.ts';

/** Where the file goes. */
interface Target extends Disposable {
  write(chunk: Uint8Array): void | Promise<void>;
  publish(): void;
}

export const tmemSaveCommand: Command = userCommand({
  name: 'tmem-save',
  summary: 'save the persistent pools of a user to a file',
  words: { usage: 'FILE', max: 1 },
  positionals: 'file',
  examples: [
    { line: 'frontswap tmem-save 1000 user1000.tmem', what: 'then tmem-restore in another host' },
    {
      line: 'frontswap tmem-save 1000 - | ssh other frontswap tmem-restore -',
      what: 'no file with pages on a disk',
    },
  ],
  notes: [
    'Saves the persistent pools that have a uuid and a lease: a process can open these again. The user is frozen from the start and stays frozen, because a page put later would be missing in the file: tmem-destroy drops the pools, tmem-thaw resumes puts. If the save fails, the user is as it was.',
    'FILE contains the pages unencrypted. It has mode 0600, and gets its name once it is complete; until then it is FILE.new. - is stdout.',
  ],
  check([file]) {
    if (file === undefined)
      throw new SwapError('ERR_ARG_VALUE', 'FILE: choose a file to write, or - for stdout', {
        key: 'FILE',
      });
  },
  async work(call) {
    const { uid, control, args, world } = call;
    const [path = ''] = call.words;
    const isStdout = path === '-';
    checkStdout(call, isStdout);
    const wasFrozen = (await askTmem(control)).users.some((u) => u.uid === uid && u.isFrozen);
    using target = isStdout ? stdoutOf(call) : new NewFile(path);
    using progress = new TransferProgress('saved', args, world);
    const stop = new AbortController();
    let hasBegun = false;
    const undo = async (): Promise<void> => {
      stop.abort();
      target[Symbol.dispose]();
      // The host thaws the user itself, and refuses this, unless it has sent the whole file.
      if (hasBegun && !wasFrozen) await askTmemGate(control, uid, 'thaw').catch(() => undefined);
    };
    using signals = new UndoneBySignals(undo);
    const receive = (chunk: Buffer): void | Promise<void> => {
      hasBegun = true;
      progress.expectedBytes ??= expectedBytes(chunk);
      progress.add(chunk.length);
      return target.write(chunk);
    };
    let tail: FileTail;
    try {
      tail = await askTmemSave(control, uid, receive, stop.signal);
      target.publish();
    } catch (error) {
      await signals.undo();
      throw error;
    }
    const { pools, pages, damagedPages, leftPools } = tail;
    progress[Symbol.dispose]();
    const warn = (text: string): void =>
      world.stderr.write(`frontswap tmem-save: warning: ${text}\n`);
    if (damagedPages > 0) warn(`${damagedPages} damaged pages are not in the file`);
    if (leftPools > 0)
      warn(
        `${leftPools} pools are not in the file: only persistent ones with a uuid and a lease are`,
      );
    if (isStdout) return;
    const facts = { uid, file: path, pools: pools.length, pages, bytes: progress.bytes };
    const document = { ...facts, damagedPages, leftPools };
    printDone(
      call,
      document,
      `${pages} pages of ${pools.length} pools saved; frozen until tmem-thaw`,
    );
  },
});

function checkStdout({ args, world }: UserCommandCall, isStdout: boolean): void {
  if (isStdout && flag(args, 'json'))
    throw new SwapError('ERR_ARG_CONFLICT', '--json and - both write to stdout; choose one', {
      key: '--json',
    });
  if (isStdout && world.stdout.isTerminal)
    throw new SwapError('ERR_ARG_VALUE', 'FILE: stdout is a terminal; use a pipe or a file', {
      key: 'FILE',
    });
}

const stdoutOf = ({ world }: UserCommandCall): Target => ({
  write: (chunk) => world.writeBytes(chunk),
  publish: () => {},
  [Symbol.dispose]: () => {},
});

/** Undoes work at a failure, and before a signal ends the process; a second signal ends it immediately. */
class UndoneBySignals implements Disposable {
  readonly #work: () => Promise<void>;
  readonly #handlers: (() => void)[];
  #undone: Promise<void> | null = null;

  constructor(work: () => Promise<void>) {
    this.#work = work;
    this.#handlers = [...stopSignals, 'SIGHUP' as const].map((signal) => {
      const handler = (): void => {
        this[Symbol.dispose]();
        const end = (): void => void process.kill(process.pid, signal); // no handler is left
        this.undo().then(end, end);
      };
      process.on(signal, handler);
      return () => process.off(signal, handler);
    });
  }

  undo(): Promise<void> {
    this.#undone ??= this.#work();
    return this.#undone;
  }

  [Symbol.dispose](): void {
    for (const remove of this.#handlers) remove();
  }
}
