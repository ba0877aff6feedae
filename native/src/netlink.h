// SPDX-License-Identifier: Apache-2.0
// Netlink sockets: opening, and the kernel's answer to a message.
#pragma once
#include "support.h"

#include <linux/netlink.h>

namespace axoneme {

// Opens a socket in a namespace (undefined: the present one), with extended acks and large buffers.
Fd openNetlink(Napi::Env env, const std::string& protocol, const Napi::Value& netns);

// The failure in an NLMSG_ERROR or NLMSG_DONE message, with the kernel's words; code 0 for success.
Failure ackOf(const nlmsghdr* message, const std::string& object);

}  // namespace axoneme
