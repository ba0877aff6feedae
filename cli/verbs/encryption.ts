/** `axoneme encryption`: what is encrypted between nodes and with which keys, and new keys. No key is ever shown. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { collectionPath, KubeClient } from '../../cluster/client.ts';
import type { KubeObject } from '../../cluster/events.ts';
import { parseKeys } from '../../datapath/keyring.ts';
import { KEY_FILE, WireguardKeys } from '../../datapath/wireguard-keys.ts';
import type { TableRow } from '../../observe/debug/table-routes.ts';
import type { WireguardDeviceRow, WireguardPeerRow, XfrmStateRow } from '../../state/tables.ts';
import { chosen, noPositionals } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { formatFacts, formatTable } from '../output/table.ts';
import { ipsecKeyLine } from '../up/ipsec-secret.ts';
import { parseArguments, UsageError } from '../usage.ts';

export const summary = 'encryption between nodes: status, new keys';
export const usage = `axoneme encryption status [-o json]
axoneme encryption rotate wireguard --state-dir DIR
axoneme encryption rotate ipsec [--kubeconfig FILE] [--secret NAMESPACE/NAME]

status asks one node's agent. rotate gives a node another WireGuard key (in its agent's state folder), or the cluster another IPsec
key (in the Secret, kube-system/cilium-ipsec-keys by default, with the next id); agents see it by themselves.
${targetUsage}`;

const FLAGS = { ...targetFlags, 'state-dir': 'DIR', kubeconfig: 'FILE', secret: 'NAMESPACE/NAME' } as const;
const KEY_IDS = 15;
type Flags = Partial<Record<keyof typeof FLAGS, string>>;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, FLAGS);
  const [word, ...rest] = positionals;
  if (chosen('action', word, ['status', 'rotate']) === 'status') {
    noPositionals(rest);
    return status(flags);
  }
  const kind = chosen('kind', rest[0], ['wireguard', 'ipsec']);
  noPositionals(rest.slice(1));
  print(kind === 'wireguard' ? rotateWireguard(flags) : await rotateIpsec(flags));
  return 0;
}

async function status(flags: Flags): Promise<number> {
  const client = await clientFor(flags);
  const rows = async <T>(table: string): Promise<[string, T][]> => {
    const { rows: all } = await client.get<{ rows: TableRow[] }>(`/v1/tables/${table}?view=kernel`);
    return all.flatMap((row) => (row.kernel === undefined ? [] : [[row.key, row.kernel as T] as [string, T]]));
  };
  const [devices, peers, states] = [
    await rows<WireguardDeviceRow>('wireguard.devices'),
    await rows<WireguardPeerRow>('wireguard.peers'),
    await rows<XfrmStateRow>('xfrm.states'),
  ];
  if (wantsJson(flags.output)) printJson({ devices, peers, states });
  else print(statusText(devices, peers, states));
  return 0;
}

function statusText(
  devices: readonly [string, WireguardDeviceRow][],
  peers: readonly [string, WireguardPeerRow][],
  states: readonly [string, XfrmStateRow][],
): string {
  const wireguard = devices.map(([name, { publicKey, listenPort }]) =>
    formatFacts([
      ['Encryption', 'WireGuard'],
      ['Interface', name],
      ['Public key', publicKey],
      ['Port', String(listenPort)],
    ]),
  );
  const known = peers.map(([key, { node, endpoint, allowedIps }]) => [node, endpoint, key, allowedIps.join(' ')]);
  const keys = [...new Set(states.map(([, { spi }]) => spi))].sort((a, b) => a - b);
  const associations = states.map(([, { direction, src, dst, spi, fingerprint }]) => [
    ...[direction, src, dst, String(spi), fingerprint],
  ]);
  return (
    [
      ...wireguard,
      ...(known.length > 0 ? [formatTable(['NODE', 'ENDPOINT', 'PUBLIC KEY', 'ALLOWED'], known)] : []),
      ...(keys.length > 0
        ? [
            formatFacts([
              ['Encryption', 'IPsec'],
              ['Keys in use', keys.join(', ')],
            ]),
            formatTable(['DIRECTION', 'FROM', 'TO', 'KEY', 'FINGERPRINT'], associations),
          ]
        : []),
    ].join('\n') || 'Encryption: none'
  );
}

function rotateWireguard({ 'state-dir': folder }: Flags): string {
  if (folder === undefined) throw new UsageError('--state-dir is missing: the folder of the agent, with its key');
  if (!existsSync(join(folder, KEY_FILE))) throw new Error(`${folder} has no ${KEY_FILE}: its agent uses no WireGuard`);
  return `public key ${new WireguardKeys(folder).rotate()}`;
}

async function rotateIpsec({ kubeconfig, secret = 'kube-system/cilium-ipsec-keys' }: Flags): Promise<string> {
  const [namespace = '', name = '', more] = secret.split('/');
  if (namespace === '' || name === '' || more !== undefined) {
    throw new UsageError(`flag --secret is ${JSON.stringify(secret)}, expected NAMESPACE/NAME`);
  }
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  const client = new KubeClient(config);
  const path = `${collectionPath('v1', 'secrets', namespace)}/${encodeURIComponent(name)}`;
  try {
    const { data } = await client.get<KubeObject & { data?: { keys?: string } }>(path, {}, AbortSignal.timeout(30_000));
    const last = parseKeys(Buffer.from(data?.keys ?? '', 'base64').toString('utf8')).at(-1)?.id ?? 0;
    const id = (last % KEY_IDS) + 1;
    const keys = Buffer.from(ipsecKeyLine(id)).toString('base64');
    await client.send({ method: 'PATCH', contentType: 'application/merge-patch+json', body: { data: { keys } } }, path);
    return `Secret ${secret} has key ${id} in place of ${last}`;
  } finally {
    client.disconnect();
  }
}
