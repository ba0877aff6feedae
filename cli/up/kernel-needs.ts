/** What this kernel must have for the network that an embedded cluster asks for: tried out in a namespace of its own. */
import { release } from 'node:os';
import { createNetns, deleteNetns } from '../../native/index.ts';
import { CommandFailed, command } from './command.ts';
import { netnsPath } from './names.ts';
import type { Network } from './network.ts';

interface Need {
  /** As people and kernel configurations call it. */
  feature: string;
  flag: string;
  /** `ip` commands that work where the feature is. */
  tried: string;
}

const AES_KEY = `0x${'0'.repeat(39)}1`;

const needs: Partial<Record<Network['routing'] | Network['encryption'], Need>> = {
  vxlan: {
    feature: 'VXLAN (CONFIG_VXLAN)',
    flag: '--routing vxlan',
    tried: 'link add try type vxlan external dstport 8472',
  },
  geneve: {
    feature: 'Geneve (CONFIG_GENEVE)',
    flag: '--routing geneve',
    tried: 'link add try type geneve external dstport 6081',
  },
  wireguard: {
    feature: 'WireGuard (CONFIG_WIREGUARD)',
    flag: '--encryption wireguard',
    tried: 'link add try type wireguard',
  },
  ipsec: {
    feature: 'IPsec with AES-GCM (CONFIG_INET_ESP, CONFIG_INET6_ESP, CONFIG_CRYPTO_GCM)',
    flag: '--encryption ipsec',
    tried: `xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 reqid 1 mode tunnel aead rfc4106(gcm(aes)) ${AES_KEY} 128`,
  },
};

/** Throws with the feature that is missing and the command that shows it on a kernel that has it. */
export async function requireKernelFor(network: Network, cluster: string): Promise<void> {
  for (const one of [network.routing, network.encryption]) {
    const need = needs[one];
    if (need === undefined) continue;
    const refusal = await refusalOf(need, `axo-${cluster}.probe`);
    if (refusal !== undefined) throw new Error(missing(need, network, refusal));
  }
}

async function refusalOf({ tried }: Need, netns: string): Promise<string | undefined> {
  createNetns(netnsPath(netns));
  try {
    await command('ip', ['-netns', netns, ...tried.split(' ')]);
    return undefined;
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    return error.message.split('\n').at(-1)?.replace(/^.*: /, '') ?? error.message;
  } finally {
    deleteNetns(netnsPath(netns));
  }
}

function missing({ feature, flag }: Need, { routing, encryption }: Network, refusal: string): string {
  const flags = `--nodes 2 --routing ${routing}${encryption === 'none' ? '' : ` --encryption ${encryption}`}`;
  return [
    `this kernel (${release()}) is without ${feature}, which ${flag} needs; it says: ${refusal}`,
    `a kernel with it, in the lab: node_modules/.bin/node simulations/lab/run.ts 6.12 -- cli/axoneme up ${flags} --for 30`,
  ].join('\n');
}
