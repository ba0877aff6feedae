/** The object of the socket programs, configured for this node: which hooks, whose sockets are the host's, how to refuse. */
import { readFileSync } from 'node:fs';
import { btfOfObject, isErrno, netnsCookie } from '../native/index.ts';
import type { Features } from './features.ts';
import { type ObjectPart, objectPath } from './loader.ts';
import { rodataOf } from './runtime-config.ts';
import { isSockHook, sockProgram } from './sock-hooks.ts';

export function sockPart(hooks: readonly string[], { has }: Features, netns: string | undefined): ObjectPart {
  const path = objectPath('sock');
  const { bytes } = rodataOf(readFileSync(path), btfOfObject(path), 'sock_config', {
    hostCookie: cookieOf(netns),
    refuseConnect: Number(has.connectRefusal),
    refuseBind: Number(has.bindRefusal),
  });
  return { path, rodata: { sock_config: bytes }, programs: hooks.filter(isSockHook).map(sockProgram) };
}

/** 0 before Linux 5.14, which cannot tell: the programs then take the machine's first namespace for the host's. */
function cookieOf(netns: string | undefined): bigint {
  try {
    return netnsCookie(netns);
  } catch (error) {
    if (isErrno(error, 'ENOPROTOOPT')) return 0n;
    throw error;
  }
}
