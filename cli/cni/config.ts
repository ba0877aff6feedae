/** The network configuration that the runtime hands over on stdin. */
import { type CniAttachment, cniCodes } from '../../cluster/cni-types.ts';
import { CniInvalid, checked, parseAttachment, rules, shown } from '../../cluster/cni-validate.ts';
import type { Command } from './environment.ts';
import { fail } from './failure.ts';

export const supportedVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type Version = (typeof supportedVersions)[number];

export interface NetworkConfig {
  cniVersion: Version;
  /** The agent's CNI socket. */
  socket: string;
  dns: Record<string, unknown>;
  prevResult: Record<string, unknown> | undefined;
  validAttachments: CniAttachment[];
}

const DEFAULT_SOCKET = '/run/axoneme/cni.sock';
/** A configuration without a version is of the time before there were versions. */
const FIRST_VERSION: Version = '0.1.0';
/** Which version of the spec brought a command. */
const since: Readonly<Partial<Record<Command, Version>>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

export function parseConfig(text: string, command: Command): NetworkConfig {
  const config = parseObject(text, command);
  const cniVersion = parseVersion(config.cniVersion);
  if (command === 'VERSION') return { cniVersion, socket: '', dns: {}, prevResult: undefined, validAttachments: [] };
  const needed = since[command];
  if (needed && supportedVersions.indexOf(cniVersion) < supportedVersions.indexOf(needed)) {
    fail(cniCodes.incompatibleVersion, `cniVersion is "${cniVersion}", expected "${needed}" or later for ${command}`);
  }
  try {
    checked('name', config.name, {
      test: (value) => value.length <= 253 && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value),
      expected: 'a network name of letters, digits, "_", "." and "-"',
    });
    const prevResult = optionalObject(config, 'prevResult');
    if (command === 'ADD' && prevResult) {
      throw new CniInvalid({
        field: 'prevResult',
        value: shown(prevResult),
        expected: 'none: axoneme-cni creates the interface, so it is first in its list',
      });
    }
    if (command === 'CHECK' && !prevResult) {
      throw new CniInvalid({ field: 'prevResult', value: 'missing', expected: 'the result of ADD' });
    }
    return {
      cniVersion,
      socket: checked('socket', config.socket ?? DEFAULT_SOCKET, {
        ...rules.netns,
        expected: 'the absolute path of the agent’s CNI socket',
      }),
      dns: optionalObject(config, 'dns') ?? {},
      prevResult,
      validAttachments: command === 'GC' ? parseValid(config['cni.dev/valid-attachments']) : [],
    };
  } catch (error) {
    if (error instanceof CniInvalid)
      fail(cniCodes.invalidConfig, `network configuration: ${error.message}`, error.error.field);
    throw error;
  }
}

function parseObject(text: string, command: Command): Record<string, unknown> {
  if (command === 'VERSION' && text.trim() === '') return { cniVersion: supportedVersions.at(-1) };
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (error) {
    fail(
      cniCodes.decode,
      `network configuration on stdin is not JSON: ${error instanceof Error ? error.message : error}`,
      shown(text),
    );
  }
  if (config === null || typeof config !== 'object' || Array.isArray(config)) {
    fail(cniCodes.decode, `network configuration on stdin is ${shown(config)}, expected a JSON object`);
  }
  return config as Record<string, unknown>;
}

function parseVersion(value: unknown): Version {
  if (value === undefined || value === '') return FIRST_VERSION;
  const version = supportedVersions.find((known) => known === value);
  return (
    version ??
    fail(cniCodes.incompatibleVersion, `cniVersion is ${shown(value)}, expected one of ${supportedVersions.join(', ')}`)
  );
}

function optionalObject(config: Record<string, unknown>, field: string): Record<string, unknown> | undefined {
  const value = config[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value))
    throw new CniInvalid({ field, value: shown(value), expected: 'a JSON object' });
  return value as Record<string, unknown>;
}

/** Deleting what the runtime did not list is only safe when it did list: an absent list is an error, an empty one is not. */
function parseValid(value: unknown): CniAttachment[] {
  const field = 'cni.dev/valid-attachments';
  if (!Array.isArray(value))
    throw new CniInvalid({ field, value: shown(value), expected: 'a list of {containerID, ifname}' });
  return value.map((entry, i) =>
    parseAttachment({ containerId: entry?.containerID, ifname: entry?.ifname }, `${field}[${i}]`),
  );
}
