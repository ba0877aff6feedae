/** What tells our objects from those of others in the kernel; see PROTOCOL.md. */

/** Route protocol, address protocol (Linux 5.18) and group of the near ends of our links. */
export const OURS = 120;
