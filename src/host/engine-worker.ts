/**
 * A worker thread that owns disks, seen from the thread that listens: questions with answers, and messages.
 *
 * If a worker ends before close() is called, its pages are lost: each open or later question fails with ERR_IO_ENDED, and
 * onEnded is called once.
 *
 * This file and worker.ts are one folder deep, like the chunks of the bundle, so that their relative URLs are the same.
 */
import { Worker } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import type {
  FromWorker,
  Operation,
  Operations,
  ToWorker,
  WorkerFigures,
  WorkerSettings,
} from './workers/messages.ts';

/** Time for a worker to end its connections (2 s) and operations, ms. A stop does not wait longer for a worker that hangs. */
const CLOSE_MS_MAX = 10_000;

/** A worker that takes longer counts as not answering, ms. Background work and large requests take less. */
const ANSWER_MS_MAX = 2000;

interface Question {
  resolve(answer: unknown): void;
  reject(error: SwapError): void;
}

export interface EngineWorkerOptions {
  /** Starts at 1; for messages. */
  readonly number: number;
  readonly settings: WorkerSettings;
  readonly onMessage: (message: FromWorker) => void;
  /** The worker has ended without being asked to. @param why for people */
  readonly onEnded: (why: string) => void;
}

export class EngineWorker {
  readonly number: number;
  readonly #worker: Worker;
  readonly #questions = new Map<number, Question>();
  #lastId = 0;
  #why: string | null = null;
  #isClosing = false;
  /** Figures that were requested and did not arrive in time. */
  #lateFigures: Promise<WorkerFigures | null> | null = null;

  constructor({ number, settings, onMessage, onEnded }: EngineWorkerOptions) {
    this.number = number;
    this.#worker = new Worker(new URL('../host/worker.js', import.meta.url), {
      workerData: settings,
      name: `frontswap engine ${number}`,
    });
    this.#worker.on('message', (message: FromWorker) => {
      if (message.kind === 'answer') this.#take(message.id)?.resolve(message.answer);
      else if (message.kind === 'refusal') {
        const { code, message: text, facts } = message.error;
        this.#take(message.id)?.reject(new SwapError(code, text, facts));
      } else onMessage(message);
    });
    const ended = (why: string): void => {
      if (this.#why !== null) return;
      this.#why = why;
      for (const { reject } of this.#questions.values()) reject(this.#endedError(why));
      this.#questions.clear();
      if (!this.#isClosing) onEnded(why);
    };
    this.#worker.on('error', (error) => ended(error.stack ?? error.message));
    this.#worker.on('exit', (code) => ended(`exit ${code}`));
  }

  get hasEnded(): boolean {
    return this.#why !== null;
  }

  ask<Op extends Operation>(
    operation: Op,
    ...args: Parameters<Operations[Op]>
  ): Promise<ReturnType<Operations[Op]>> {
    return new Promise((resolve, reject) => {
      if (this.#why !== null) {
        reject(this.#endedError(this.#why));
        return;
      }
      const id = ++this.#lastId;
      this.#questions.set(id, {
        resolve: (answer) => resolve(answer as ReturnType<Operations[Op]>),
        reject,
      });
      this.post({ kind: 'ask', id, operation, args });
    });
  }

  /**
   * 'late': no answer within ANSWER_MS_MAX. No further question is sent until this one is answered. Null: the worker has ended.
   */
  figures(): Promise<WorkerFigures | null | 'late'> {
    const asked = this.#lateFigures ?? this.ask('figures').catch(() => null);
    return within(ANSWER_MS_MAX, asked).then((answer) => {
      this.#lateFigures = answer === 'late' ? asked : null;
      return answer;
    });
  }

  post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  /** Ends the connections, frees the disks, and ends the thread, even if it does not answer. */
  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#why === null)
      await within(
        CLOSE_MS_MAX,
        this.ask('close').catch(() => undefined),
      );
    await this.#worker.terminate();
  }

  #take(id: number): Question | undefined {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    return question;
  }

  #endedError(why: string): SwapError {
    const [reason = ''] = why.split('\n');
    return new SwapError(
      'ERR_IO_ENDED',
      `engine worker ${this.number} has ended, and its disks are lost: ${reason}`,
      { reason },
    );
  }
}

async function within<T>(ms: number, running: Promise<T>): Promise<T | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(resolve, ms, 'late');
  });
  return await Promise.race([running, late]).finally(() => clearTimeout(timer));
}
