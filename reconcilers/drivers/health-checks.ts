/**
 * Table `health.checks`: HTTP on health check node ports, so that load balancers send a service's connections only to nodes with a
 * backend of it. Answers as kube-proxy gives them.
 *
 * - On all addresses of the namespace that the agent runs in, which is the node's.
 * - A socket ends with the process: until the next agent is there, load balancers see that nobody answers.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Driver, Op, OpError, OpResult } from '../../datapath/driver.ts';
import type { HealthCheckRow } from '../../state/tables.ts';

const CONNECTIONS_MAX = 64;
const REQUEST_MS = 5_000;

interface Check {
  row: HealthCheckRow;
  server: Server;
}

export class HealthChecksDriver implements Driver {
  readonly tables = ['health.checks'] as const;
  readonly lane = 'edge';
  readonly #checks = new Map<string, Check>();
  /** Changes of one port go one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  apply(ops: readonly Op[]): Promise<OpResult[]> {
    const run = this.#last.then(async () => {
      const results: OpResult[] = [];
      for (const op of ops) results.push(op.action === 'put' ? await this.#put(op) : await this.#delete(op));
      return results;
    });
    this.#last = run;
    return run;
  }

  async #put(op: Op): Promise<OpResult> {
    const row = op.value as HealthCheckRow;
    const check = this.#checks.get(op.key);
    if (check) {
      check.row = row;
      return undefined;
    }
    const port = Number(op.key);
    if (!/^[1-9]\d{0,4}$/.test(op.key) || port > 65_535)
      return failed(op, 'EINVAL', `port is ${op.key}, expected a number from 1 to 65535`, false);
    const made: Check = { row, server: createServer((_, response) => answer(made.row, response)) };
    made.server.maxConnections = CONNECTIONS_MAX;
    made.server.requestTimeout = REQUEST_MS;
    made.server.headersTimeout = REQUEST_MS;
    try {
      await listen(made.server, port);
    } catch (error) {
      const { code = 'EIO', message } = error as NodeJS.ErrnoException;
      return failed(op, code, message, true);
    }
    this.#checks.set(op.key, made);
    return undefined;
  }

  async #delete({ key }: Op): Promise<undefined> {
    const check = this.#checks.get(key);
    this.#checks.delete(key);
    if (check) await closed(check.server);
  }

  /** What listens; sockets of others on such ports are not ours. */
  dump(): Map<string, HealthCheckRow> {
    return new Map([...this.#checks].map(([key, { row }]) => [key, row]));
  }

  async close(): Promise<void> {
    await this.#last;
    await Promise.all([...this.#checks.values()].map(({ server }) => closed(server)));
    this.#checks.clear();
  }
}

function answer({ namespace, service, localEndpoints }: HealthCheckRow, response: ServerResponse): void {
  const body = { service: { namespace, name: service }, localEndpoints, serviceProxyHealthy: true };
  response.writeHead(localEndpoints > 0 ? 200 : 503, {
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
    'x-load-balancing-endpoint-weight': String(localEndpoints),
    connection: 'close',
  });
  response.end(`${JSON.stringify(body, null, '\t')}\n`);
}

const failed = (op: Op, errno: string, why: string, retryable: boolean): OpError => ({
  kind: errno === 'EINVAL' ? 'invalid' : 'kernel',
  errno,
  message: `${op.action} ${op.table} ${op.key}: ${why}`,
  retryable,
});

/** Of both families; of IPv4 alone where there is no other. */
async function listen(server: Server, port: number): Promise<void> {
  try {
    await listening(server, port, '::');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error;
    await listening(server, port, '0.0.0.0');
  }
}

function listening(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host }, () => {
      server.off('error', reject);
      server.on('error', () => {}); // of single connections
      resolve();
    });
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
