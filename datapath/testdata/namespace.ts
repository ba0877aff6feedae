/** A namespace of its own for a test, with a few links and a short name; gone with `dispose`. */
import { execFileSync } from 'node:child_process';
import { createNetns, deleteNetns } from '../../native/index.ts';

let made = 0;

export interface TestNamespace {
  path: string;
  /** Runs `ip` in it; its output. */
  ip(command: string): string;
  run(command: string, ...args: string[]): string;
  dispose(): void;
}

export function testNamespace(purpose: string): TestNamespace {
  const path = `/run/netns/axt-${process.pid}-${purpose}-${++made}`;
  createNetns(path, { loopbackUp: true });
  const run = (command: string, ...args: string[]): string =>
    execFileSync('nsenter', [`--net=${path}`, command, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return {
    path,
    run,
    ip: (command) => run('ip', ...command.split(' ')),
    dispose: () => void deleteNetns(path),
  };
}
