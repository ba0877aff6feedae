/**
 * The node's keys, at the edge: who reads them, and the events that name them without saying them.
 *
 * - WireGuard: the file below the state folder; another file in its place is a rotation.
 * - IPsec: the Secret. One that is malformed, or gone, changes nothing: the keys that are in use stay, and the log says why.
 */
import { watch } from 'node:fs';
import type { KubeConfig } from '@kubernetes/client-node';
import { concatMap, EMPTY, NEVER, Observable, of } from 'rxjs';
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import { watchResource } from '../../cluster/watch.ts';
import { Keyring } from '../../datapath/keyring.ts';
import { KEY_FILE, WireguardKeys } from '../../datapath/wireguard-keys.ts';
import type { AgentConfig } from '../agent-config.ts';
import { ApiTroubles } from './api-troubles.ts';

export interface NodeKeys {
  keyring: Keyring;
  wireguard: WireguardKeys;
  /** Cold; once the loop listens. */
  events$: Observable<ClusterEvent>;
}

type Log = (line: string) => void;

export function nodeKeys(config: AgentConfig, kube: KubeConfig, log: Log): NodeKeys {
  const keyring = new Keyring();
  const wireguard = new WireguardKeys(config.stateDir);
  const { type, ipsecSecret } = config.encryption;
  const sources = {
    none: () => NEVER,
    wireguard: () => wireguardEvents(config.stateDir, wireguard, log),
    ipsec: () => ipsecEvents(ipsecSecret, keyring, kube, log),
  };
  return { keyring, wireguard, events$: sources[type]() };
}

/** A key file that cannot be read at the start ends the start: a node without its key talks to nobody. */
function wireguardEvents(stateDir: string, keys: WireguardKeys, log: Log): Observable<ClusterEvent> {
  const first = keys.publicKey();
  return new Observable((subscriber) => {
    let said = '';
    const say = (publicKey: string): void => {
      if (publicKey !== said) subscriber.next({ type: 'wireguard.keyed', publicKey });
      said = publicKey;
    };
    const look = (): void => {
      try {
        say(keys.publicKey());
      } catch (error) {
        log(`WireGuard key: ${error instanceof Error ? error.message : error}; the key in use stays`);
      }
    };
    const watcher = watch(stateDir, (_, file) => {
      if (file === KEY_FILE) look();
    });
    say(first);
    return () => watcher.close();
  });
}

function ipsecEvents(secret: string, keyring: Keyring, kube: KubeConfig, log: Log): Observable<ClusterEvent> {
  const [namespace = '', name = ''] = secret.split('/');
  const stays = 'keys in use stay';
  const path = `/api/v1/namespaces/${namespace}/secrets`;
  const troubles = new ApiTroubles(log);
  return watchResource(kube, {
    path,
    fieldSelector: `metadata.name=${name}`,
    onTrouble: (cause) => troubles.tell(path, cause),
  }).pipe(
    concatMap((event): Observable<ClusterEvent> => {
      if (event.type === 'synced') {
        if (!keyring.hasKeys()) log(`Secret ${secret} is not there or has no key: no IPsec until it is`);
        return EMPTY;
      }
      if (event.type === 'delete') {
        log(`Secret ${secret} is gone; ${stays}`);
        return EMPTY;
      }
      try {
        return of({ type: 'ipsec.keyed', keys: keyring.load(keysIn(event.object)) });
      } catch (error) {
        log(`Secret ${secret}: ${error instanceof Error ? error.message : error}; ${stays}`);
        return EMPTY;
      }
    }),
  );
}

/** Field `keys` of the Secret's data. */
function keysIn(object: KubeObject): string {
  const { data } = object as KubeObject & { data?: Record<string, unknown> };
  const keys = data?.['keys'];
  if (typeof keys !== 'string') throw new TypeError('data has no field keys');
  return Buffer.from(keys, 'base64').toString('utf8');
}
