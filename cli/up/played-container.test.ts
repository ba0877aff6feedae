/** How a played container ends: it serves on for a moment, says that it is going, and then is gone. */
import { execFile } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createNetns, deleteNetns } from '../../native/index.ts';
import { playContainer } from './played-container.ts';

const netns = `/run/netns/axt-${process.pid}-played`;
beforeAll(() => createNetns(netns, { loopbackUp: true }));
afterAll(() => deleteNetns(netns));

const role = { namespace: 'shop', name: 'web-0', node: 'node-1', container: 'c' };
const ports = [
  { containerPort: 8080, protocol: 'TCP' as const },
  { containerPort: 8080, protocol: 'UDP' as const },
];
const curl = (...args: string[]): Promise<{ code: number; text: string }> =>
  new Promise((done) => {
    const command = [`--net=${netns}`, 'curl', '-sS', '-i', '--max-time', '5', ...args];
    execFile('nsenter', command, (error, stdout) => done({ code: error ? Number(error.code) : 0, text: stdout }));
  });
const URL = 'http://127.0.0.1:8080/';
const CANNOT_CONNECT = 7;

test('while it lingers new connections are served and told to end; then they are refused', async () => {
  const played = await playContainer(netns, role, ports);
  expect(await curl(URL)).toMatchObject({ code: 0, text: expect.stringMatching(/connection: keep-alive/i) });
  const stopped = played.stop(2_000);
  expect(await curl(URL)).toMatchObject({ code: 0, text: expect.stringMatching(/connection: close[\s\S]*web-0/i) });
  await stopped;
  expect((await curl(URL)).code).toBe(CANNOT_CONNECT);
});

test('without grace it is gone at once', async () => {
  const played = await playContainer(netns, role, ports);
  await played.stop(0);
  expect((await curl(URL)).code).toBe(CANNOT_CONNECT);
});
