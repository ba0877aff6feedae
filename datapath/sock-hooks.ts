/** The hooks of a cgroup where sockets are translated; bpf/sock.bpf.c has a program `sock_<hook>` for each. */
export const sockHooks = [
  'connect4',
  'connect6',
  'sendmsg4',
  'sendmsg6',
  'recvmsg4',
  'recvmsg6',
  'getpeername4',
  'getpeername6',
  'post_bind4',
  'post_bind6',
  'sock_release',
] as const;
export type SockHook = (typeof sockHooks)[number];

export const isSockHook = (name: string): name is SockHook => (sockHooks as readonly string[]).includes(name);
export const sockProgram = (hook: SockHook): string => `sock_${hook}`;
