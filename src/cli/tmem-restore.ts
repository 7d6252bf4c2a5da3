/** `frontswap tmem-restore`: give a user the pools of a file. */
import { closeSync, constants, createReadStream, fstatSync, openSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { parseUid } from '../host/tmem-routes.ts';
import { askTmemRestore } from '../host/tmem-transfer-client.ts';
import { systemError } from '../os/system-error.ts';
import { type Command, Exit, text } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';
import { exitNote, printDone } from './tmem-users.ts';
import { TransferProgress } from './transfer-progress.ts';
import type { World } from './world.ts';

export const tmemRestoreCommand: Command = {
  name: 'tmem-restore',
  group: 'tmem',
  summary: 'give a user the pools that were saved to a file',
  usage: 'tmem-restore [OPTIONS] FILE',
  examples: [
    { line: 'frontswap tmem-restore user1000.tmem', what: 'the user that was saved' },
    {
      line: 'frontswap tmem-restore --user 1001 user1000.tmem',
      what: 'its id on this machine is another one',
    },
  ],
  options: [
    { name: 'user', value: 'UID', help: 'the user who gets the pools (default: the saved one)' },
    controlOption,
  ],
  positionals: 'file',
  positionalsMax: 1,
  notes: [
    'The user must have no pools and no connections in the host, and cannot connect until the restore ends. Then its processes open their pools by uuid and find their pages; the leases start again. A user keeps the settings that it has in this host; otherwise it gets those of the file.',
    'A file that is torn, foreign or does not fit changes nothing. FILE must not be writable by other users: who can change it can change the memory of programs. - is stdin. Restore a file once: a page that was put since the save would be replaced by an older one.',
    exitNote,
  ],
  async run(args, world) {
    const [path] = args.positionals;
    if (path === undefined)
      throw new SwapError('ERR_ARG_VALUE', 'FILE: choose a saved user, or - for stdin', {
        key: 'FILE',
      });
    const user = text(args, 'user');
    const as = user === null ? null : parseUid('--user', user);
    const { control } = await onlyHost(args, world, false);
    using progress = new TransferProgress('restored', args, world);
    const { uid, pools, pages, document } = await askTmemRestore(
      control,
      as,
      counted(path === '-' ? world.readBytes() : readFile(path, world, progress), progress),
    );
    progress[Symbol.dispose]();
    printDone({ uid, args, world }, document, `${pages} pages of ${pools} pools restored`);
    return Exit.ok;
  },
};

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  progress: TransferProgress,
): AsyncIterable<Uint8Array> {
  for await (const chunk of chunks) {
    yield chunk;
    progress.add(chunk.length);
  }
}

/** The bytes of a file that only this user or root can change. @throws SwapError ERR_IO_UNSAFE_PATH, ERR_IO_SYSTEM */
async function* readFile(
  path: string,
  { uid }: World,
  progress: TransferProgress,
): AsyncIterable<Uint8Array> {
  const fd = openChecked(path, uid, progress);
  try {
    yield* createReadStream('', { fd, highWaterMark: 65536 }) as AsyncIterable<Buffer>;
  } catch (cause) {
    throw systemError(`read ${path}`, cause);
  }
}

function openChecked(path: string, user: number, progress: TransferProgress): number {
  let fd = -1;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // opening a FIFO would wait
    const { mode, size, uid } = fstatSync(fd);
    const unsafe = (why: string, advice: string): SwapError =>
      new SwapError('ERR_IO_UNSAFE_PATH', `${path} ${why}; ${advice}`, { path, uid, mode });
    if ((mode & constants.S_IFMT) !== constants.S_IFREG)
      throw unsafe('is not a regular file', 'use - for a pipe');
    if (uid !== user && uid !== 0)
      throw unsafe(`belongs to user ${uid}`, 'copy it, if you trust it');
    if ((mode & 0o022) !== 0)
      throw unsafe('can be changed by other users', 'if it was not, protect it: chmod 600');
    progress.expectedBytes = size;
    return fd;
  } catch (cause) {
    if (fd >= 0) closeSync(fd);
    throw cause instanceof SwapError ? cause : systemError(`read ${path}`, cause);
  }
}
