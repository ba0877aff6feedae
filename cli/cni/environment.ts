/** The CNI environment variables: which command needs which, and what they may hold. */
import { cniCodes } from '../../cluster/cni-types.ts';
import { CniInvalid, checked, rules, shown } from '../../cluster/cni-validate.ts';
import { fail } from './failure.ts';

export const commands = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Command = (typeof commands)[number];

export interface PodArgs {
  podNamespace: string;
  podName: string;
  podUid: string;
}

export interface Environment {
  command: Command;
  containerId: string;
  netns: string;
  ifname: string;
  args: PodArgs;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** CNI spec 1.1, "CNI operations". CNI_PATH is required of runtimes but of no use to us. */
const needs: Readonly<Record<Command, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  GC: [],
  STATUS: [],
  VERSION: [],
};

export function parseEnvironment(env: Variables): Environment {
  const command = commands.find((known) => known === env.CNI_COMMAND);
  if (!command) {
    fail(
      cniCodes.invalidEnvironment,
      `CNI_COMMAND is ${shown(env.CNI_COMMAND)}, expected one of ${commands.join(', ')}`,
    );
  }
  const missing = needs[command].filter((name) => !env[name]);
  if (missing.length > 0) {
    fail(
      cniCodes.invalidEnvironment,
      `required environment variables are missing: ${missing.join(', ')}`,
      `CNI_COMMAND ${command}`,
    );
  }
  const needed = (name: string) => needs[command].includes(name);
  try {
    return {
      command,
      containerId: needed('CNI_CONTAINERID') ? checked('CNI_CONTAINERID', env.CNI_CONTAINERID, rules.containerId) : '',
      netns: needed('CNI_NETNS') ? checked('CNI_NETNS', env.CNI_NETNS, rules.netns) : '',
      ifname: needed('CNI_IFNAME') ? checked('CNI_IFNAME', env.CNI_IFNAME, rules.ifname) : '',
      args: parseArgs(command, env.CNI_ARGS ?? ''),
    };
  } catch (error) {
    if (error instanceof CniInvalid) fail(cniCodes.invalidEnvironment, error.message, `CNI_COMMAND ${command}`);
    throw error;
  }
}

const KNOWN_ARGS = ['IgnoreUnknown', 'K8S_POD_NAMESPACE', 'K8S_POD_NAME', 'K8S_POD_INFRA_CONTAINER_ID', 'K8S_POD_UID'];

/** `KEY=VALUE;…`; only ADD has use for it. */
function parseArgs(command: Command, text: string): PodArgs {
  if (command !== 'ADD') return { podNamespace: '', podName: '', podUid: '' };
  const args: Record<string, string> = {};
  for (const pair of text.split(';').filter(Boolean)) {
    const cut = pair.indexOf('=');
    if (cut < 1)
      throw new CniInvalid({ field: 'CNI_ARGS', value: shown(pair), expected: 'KEY=VALUE pairs separated by ";"' });
    args[pair.slice(0, cut)] = pair.slice(cut + 1);
  }
  const unknown = Object.keys(args).filter((key) => !KNOWN_ARGS.includes(key));
  if (unknown.length > 0 && !/^(1|t|true)$/i.test(args.IgnoreUnknown ?? '')) {
    throw new CniInvalid({
      field: `CNI_ARGS ${unknown[0]}`,
      value: shown(args[unknown[0] ?? '']),
      expected: `one of ${KNOWN_ARGS.join(', ')}, or IgnoreUnknown=1`,
    });
  }
  return {
    podNamespace: checked('CNI_ARGS K8S_POD_NAMESPACE', args.K8S_POD_NAMESPACE, rules.podNamespace),
    podName: checked('CNI_ARGS K8S_POD_NAME', args.K8S_POD_NAME, rules.podName),
    podUid: checked('CNI_ARGS K8S_POD_UID', args.K8S_POD_UID ?? '', rules.podUid),
  };
}
