/**
 * Runs a program under a seccomp filter that denies userfaultfd, as Docker's default profile does: the system call, and
 * the ioctl of /dev/userfaultfd, which containers do not have.
 *
 *   node without-userfaultfd.js program.js arguments ..
 *
 * Sources: seccomp(2), linux/filter.h, linux/audit.h.
 */
import { spawnSync } from 'node:child_process';
import { Mapping } from '../../../src/os/linux/mapping.ts';
import { loadLinux } from '../../../src/os/linux/system-call.ts';
import { UffdRequest } from '../../../src/os/linux/uffd-constants.ts';

const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K
const ALLOW = 0x7fff0000;
const DENY = 0x00050000 | 1; // SECCOMP_RET_ERRNO, EPERM
const IOCTL = process.arch === 'arm64' ? 29 : 16;
/** Offsets in struct seccomp_data. */
const NUMBER_AT = 0;
const ARGUMENT_1_AT = 24;

const linux = loadLinux().linux!;
/** struct sock_filter: code, jump if true, jump if false, value. */
const program: readonly (readonly [number, number, number, number])[] = [
  [LOAD, 0, 0, NUMBER_AT],
  [JUMP_IF_EQUAL, 3, 0, linux.numbers.userfaultfd],
  [JUMP_IF_EQUAL, 0, 3, IOCTL],
  [LOAD, 0, 0, ARGUMENT_1_AT],
  [JUMP_IF_EQUAL, 0, 1, UffdRequest.create],
  [RETURN, 0, 0, DENY],
  [RETURN, 0, 0, ALLOW],
];

function deny(): void {
  const filter = Buffer.alloc(program.length * 8);
  program.forEach(([code, yes, no, value], i) => {
    filter.writeUInt16LE(code, i * 8);
    filter.writeUInt8(yes, i * 8 + 2);
    filter.writeUInt8(no, i * 8 + 3);
    filter.writeUInt32LE(value, i * 8 + 4);
  });
  const mapping = new Mapping(linux);
  const parts = Buffer.alloc(16);
  parts.writeUInt16LE(program.length, 0);
  parts.writeBigUInt64LE(BigInt(mapping.addressOf(filter)), 8);
  const prctl = linux.bind(
    'int prctl(int option, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d)',
  );
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) linux.fail('prctl', {});
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, mapping.addressOf(parts), 0, 0) !== 0)
    linux.fail('prctl', {});
}

deny(); // this thread, and so the processes that it starts
const { status, signal } = spawnSync(process.execPath, process.argv.slice(2), { stdio: 'inherit' });
if (signal !== null) process.kill(process.pid, signal);
process.exitCode = status ?? 1;
