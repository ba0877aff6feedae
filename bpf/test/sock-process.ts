// SPDX-License-Identifier: Apache-2.0
/** The test's side of sock-client.ts: a process in a cgroup and a network namespace, and calls to it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { inCgroup } from '../../datapath/cgroup2.ts';
import type { Answer, Calls, Request } from './sock-client.ts';

const CLIENT = join(import.meta.dirname, 'sock-client.ts');

export class SockProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly ready: Promise<void>;
  #last = 0;

  constructor(netns: string, cgroup: string) {
    const argv = ['setpriv', '--pdeathsig', 'KILL', 'nsenter', `--net=${netns}`, '--', process.execPath, CLIENT];
    const [program = '', ...args] = inCgroup(cgroup, argv);
    this.#child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.ready = new Promise((done, fail) => {
      this.#waiting.set(0, () => done());
      this.#child.once('exit', (code) => fail(new Error(`the process with sockets ended with ${code}`)));
    });
    this.#child.on('message', (answer: Answer) => this.#waiting.get(answer.id)?.(answer));
  }

  /** Rejects with the errno as message. */
  call<Name extends keyof Calls>(call: Name, ...args: Parameters<Calls[Name]>): Promise<ReturnType<Calls[Name]>> {
    const id = ++this.#last;
    return new Promise((done, fail) => {
      this.#waiting.set(id, ({ value, error }) => {
        this.#waiting.delete(id);
        if (error) fail(new Error(error));
        else done(value as ReturnType<Calls[Name]>);
      });
      this.#child.send({ id, call, args } satisfies Request);
    });
  }

  async stop(): Promise<void> {
    const ended = new Promise((done) => this.#child.once('exit', done));
    this.#child.disconnect();
    await ended;
  }
}
