/* SPDX-License-Identifier: MIT
 * `banyan completion bash|zsh`: the shell's script, and what that asks for at each TAB:
 * `banyan completion candidates LINE`. */
#ifndef BANYAN_COMPLETION_H
#define BANYAN_COMPLETION_H

int completion_main(int argc, char **argv);

#endif
