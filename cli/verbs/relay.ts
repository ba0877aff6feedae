/** `axoneme relay`: the Hubble API over all nodes of a cluster. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { startRelay } from '../../observe/relay/relay.ts';
import type { StatusView } from '../../observe/status.ts';
import { listenTrouble } from '../hubble-config.ts';
import { filterFlags, parseFilters } from '../observe/filters.ts';
import { noPositionals } from '../output/arguments.ts';
import { DebugClient } from '../output/debug-client.ts';
import { findCluster } from '../up/registry.ts';
import { parseArguments, UsageError, wholeNumber } from '../usage.ts';
import { version } from '../version.ts';

export const summary = 'the Hubble API over all nodes';
export const usage = `axoneme relay [--peer ADDRESS[,ADDRESS…]] [--listen HOST:PORT] [--socket PATH] [--web PORT]

  --peer ADDRESS       nodes to begin with, which tell of the others: host:port, unix:///path; without it, those of the embedded cluster
  --listen HOST:PORT   where clients reach it (localhost:4245 unless there is a socket)
  --socket PATH        a unix socket, root's alone
  --web PORT           the web page over all nodes, on loopback; 0: any port
  --metrics HOST:PORT  metrics for Prometheus
  --name CLUSTER       of several embedded clusters, the one of this name
  --tls-ca FILE        nodes are asked over TLS, and their certificates are of this CA
  --tls-cert FILE --tls-key FILE                 shown to nodes
  --server-cert FILE --server-key FILE           TLS towards clients
  --server-client-ca FILE                        clients must have a certificate of this CA`;

const flagSpec = {
  peer: 'ADDRESS',
  listen: 'HOST:PORT',
  socket: 'PATH',
  web: 'PORT',
  metrics: 'HOST:PORT',
  name: 'CLUSTER',
  'tls-ca': 'FILE',
  'tls-cert': 'FILE',
  'tls-key': 'FILE',
  'server-cert': 'FILE',
  'server-key': 'FILE',
  'server-client-ca': 'FILE',
} as const;
/** As `hubble` looks for it. */
const LISTEN = 'localhost:4245';
const PORT_MAX = 65_535;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, flagSpec);
  noPositionals(positionals);
  const listen = flags.listen ?? (flags.socket === undefined ? LISTEN : '');
  const trouble = listenTrouble('--listen', listen) || listenTrouble('--metrics', flags.metrics ?? '');
  const port = flags.web === undefined ? undefined : wholeNumber('web', flags.web, 0, PORT_MAX);
  if (trouble) throw new UsageError(trouble.replace('field', 'flag'));
  together(flags, 'tls-cert', 'tls-key');
  together(flags, 'server-cert', 'server-key');
  if (flags['server-client-ca'] && !flags['server-cert'])
    throw new UsageError('flag --server-client-ca wants --server-cert and --server-key beside it');
  const peers = flags.peer?.split(',') ?? (await embeddedPeers(flags.name));
  const pem = (flag: 'tls-ca' | 'tls-cert' | 'tls-key') => flags[flag] !== undefined && readFileSync(flags[flag]);
  const [ca, cert, key] = [pem('tls-ca'), pem('tls-cert'), pem('tls-key')];
  const relay = await startRelay({
    peers,
    listen,
    socket: flags.socket ?? '',
    tlsCert: flags['server-cert'] ?? '',
    tlsKey: flags['server-key'] ?? '',
    tlsClientCa: flags['server-client-ca'] ?? '',
    tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) },
    version,
    ...(port !== undefined && { page: { port, words: { flags: filterFlags, parse: parseFilters } } }),
    metrics: flags.metrics ?? '',
    log: (line) => process.stderr.write(`${line}\n`),
  });
  process.stderr.write(
    `relay on ${[listen, flags.socket].filter(Boolean).join(' and ')}, asks ${peers.join(', ')} first\n${relay.url ? `web page ${relay.url}\n` : ''}`,
  );
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await relay.close();
  return 0;
}

type Flags = { [F in keyof typeof flagSpec]?: string };

function together(flags: Flags, a: keyof Flags, b: keyof Flags): void {
  if ((flags[a] === undefined) !== (flags[b] === undefined))
    throw new UsageError(`flags --${a} and --${b}: expected both or none`);
}

/** Each node's own socket: an embedded cluster's nodes share this machine. */
async function embeddedPeers(name: string | undefined): Promise<string[]> {
  const { nodes } = await findCluster(name);
  const found = await Promise.all(
    nodes.map(
      async ({ debugSocket }) => (await new DebugClient(debugSocket).get<StatusView>('/v1/status')).hubble?.socket,
    ),
  );
  return found.flatMap((socket) => (socket ? [`unix://${socket}`] : []));
}
