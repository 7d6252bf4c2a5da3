/** Sends a request to the control socket of a running host. One connection per request; the answer is bounded. */
import { type IncomingMessage, request } from 'node:http';
import { type ErrorCode, SwapError } from '../base/errors.ts';
import { errnoOf } from '../os/system-error.ts';
import { checkListDocument, type ListDocument } from './list-document.ts';

const answerBytesMax = 16 * 1024 * 1024;
const answerMsMax = 5000;
const noAnswer = `no answer within ${answerMsMax} ms`;

function unreachable(path: string, cause: Error): SwapError {
  const errno = errnoOf(cause);
  if (cause.message === noAnswer)
    return new SwapError(
      'ERR_IO_NOT_REACHABLE',
      `the host on ${path} is there, but gave ${noAnswer}: it is stopped or stuck; see its state with ps, continue a stopped one with kill -CONT`,
      { path, errno },
      { cause },
    );
  const hint =
    errno === 'EACCES'
      ? 'it belongs to another user'
      : "start one with 'frontswap host', or say where it is with --control PATH";
  const message = `no host answers on ${path}${errno === '' ? '' : ` (${errno})`}; ${hint}`;
  return new SwapError('ERR_IO_NOT_REACHABLE', message, { path, errno }, { cause });
}

/** Codes that an answer may bring; others are no answer of a host. */
const refusalCodes: readonly ErrorCode[] = ['ERR_ARG_UNKNOWN', 'ERR_IO_IN_USE'];

const broken = (path: string, why: string): SwapError =>
  new SwapError('ERR_PEER_PROTOCOL', `${path} does not answer like a frontswap host: ${why}`, {
    path,
  });

async function readJson(path: string, response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > answerBytesMax) throw broken(path, `more than ${answerBytesMax} bytes`);
    chunks.push(chunk);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw broken(path, `no JSON, status ${response.statusCode}`);
  }
  if (response.statusCode === 200 || response.statusCode === 202) return answer;
  throw refusal(answer) ?? broken(path, `status ${response.statusCode}`);
}

/** What a host refuses with, if that is what it is. */
function refusal(answer: unknown): SwapError | null {
  const { error } = Object(answer) as { error?: { code?: unknown; message?: unknown } };
  if (typeof error?.message !== 'string') return null;
  const code = refusalCodes.find((known) => known === error.code);
  return code === undefined ? null : new SwapError(code, error.message);
}

async function ask(path: string, method: 'GET' | 'POST', url: string): Promise<unknown> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const question = request({ socketPath: path, path: url, method, agent: false }, resolve);
    question.setTimeout(answerMsMax, () => question.destroy(new Error(noAnswer)));
    question.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code?.startsWith('HPE_') === true
          ? broken(path, cause.message)
          : unreachable(path, cause),
      ),
    );
    question.end();
  });
  return readJson(path, response);
}

/**
 * @param path the control socket
 * @throws SwapError ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL
 */
export async function askDisks(path: string): Promise<ListDocument> {
  return checkListDocument(await ask(path, 'GET', '/v1/disks'), path);
}

/**
 * Has the host empty a disk.
 * @returns bytes of pages dropped
 * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE, ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL
 */
export async function askReset(path: string, disk: string, force: boolean): Promise<number> {
  const query = new URLSearchParams({ disk, ...(force ? { force: '1' } : {}) });
  const answer = Object(await ask(path, 'POST', `/v1/reset?${query}`)) as {
    droppedBytes?: unknown;
  };
  if (typeof answer.droppedBytes === 'number') return answer.droppedBytes;
  throw broken(path, 'it does not say what it dropped');
}

/**
 * Has the host stop.
 * @returns its process id; it goes on for a moment
 * @throws SwapError ERR_IO_IN_USE, ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL
 */
export async function askStop(path: string, force: boolean): Promise<number> {
  const answer = Object(await ask(path, 'POST', `/v1/stop${force ? '?force=1' : ''}`)) as {
    pid?: unknown;
  };
  if (typeof answer.pid === 'number') return answer.pid;
  throw broken(path, 'it does not say who stops');
}
