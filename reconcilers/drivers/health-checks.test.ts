/** Health check node ports answer as kube-proxy does, and the driver keeps the laws. */
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Op } from '../../datapath/driver.ts';
import type { HealthCheckRow } from '../../state/tables.ts';
import { driverLaws, type SampleRow } from '../driver-laws.ts';
import { HealthChecksDriver } from './health-checks.ts';

/** Free a moment ago. */
async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '::', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

const check = (key: string, localEndpoints: number): SampleRow & { value: HealthCheckRow } => ({
  table: 'health.checks',
  key,
  value: { namespace: 'demo', service: 'web', localEndpoints },
});

driverLaws('health checks', async () => {
  const driver = new HealthChecksDriver();
  const [first, second, taken] = [await freePort(), await freePort(), await freePort()];
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(Number(taken), '::', resolve));
  return {
    driver,
    samples: [{ ...check(first, 1), changed: check(first, 0).value }, check(second, 0)],
    impossible: [check('0', 1), check('65536', 1), check('web', 1), check(taken, 1)],
    async dispose() {
      await driver.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
});

describe('health checks', () => {
  interface Answer {
    status: number | undefined;
    headers: Record<string, unknown>;
    body: unknown;
  }
  const ask = (host: string, port: string): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const call = request({ host, port, path: '/healthz' }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
          resolve({ status: response.statusCode, headers: response.headers, body });
        });
      });
      call.on('error', reject);
      call.end();
    });
  const put = ({ table, key, value }: SampleRow): Op => ({
    table,
    action: 'put',
    key,
    value,
    before: undefined,
    revision: 1,
    owners: [],
  });

  test.each(['127.0.0.1', '::1'])('200 with local endpoints, 503 without, over %s', async (host) => {
    const driver = new HealthChecksDriver();
    const port = await freePort();
    try {
      for (const [count, status] of [
        [2, 200],
        [0, 503],
        [1, 200],
      ] as const) {
        expect(await driver.apply([put(check(port, count))])).toEqual([undefined]);
        expect(await ask(host, port)).toMatchObject({
          status,
          headers: { 'content-type': 'application/json', 'x-load-balancing-endpoint-weight': String(count) },
          body: { service: { namespace: 'demo', name: 'web' }, localEndpoints: count, serviceProxyHealthy: true },
        });
      }
      await driver.apply([{ ...put(check(port, 1)), action: 'delete' }]);
      await expect(ask(host, port)).rejects.toThrow('ECONNREFUSED');
    } finally {
      await driver.close();
    }
  });
});
