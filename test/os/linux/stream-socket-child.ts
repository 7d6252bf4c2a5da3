/**
 * Run by stream-socket.test.ts: waits for bytes that never come, while a signal interrupts every call. Prints the result of the
 * wait, and whether there were signals.
 */
import { loadLibC } from '../../../src/os/linux/libc.ts';
import { streamSockets } from '../../../src/os/linux/stream-socket.ts';

const TIMEOUT_MS = 100;
/** setitimer(2) in real time: SIGALRM each 5 ms. */
const ITIMER_REAL = 0;
const everyUs = 5000n;

const libc = loadLibC(process.platform)!;
let signals = 0;
process.on('SIGALRM', () => signals++);
const every = new BigInt64Array([0n, everyUs, 0n, everyUs]);
libc.bind('int setitimer(int which, uintptr_t next, uintptr_t last)')(
  ITIMER_REAL,
  libc.addressOf(every),
  0,
);
const socket = streamSockets(process.platform)!(
  { path: process.argv[2]! },
  new Uint8Array(100),
  5000,
);
const result = socket.receive(0, 10, TIMEOUT_MS);
// Signal handlers run on the event loop.
setTimeout(() => {
  console.log(JSON.stringify({ result, isInterrupted: signals > 0 }));
  process.exit();
}, 20);
