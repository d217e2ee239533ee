// Kernel modules.
#pragma once

#define MODULES_LIST "/.fledge/modules"

// Loads what /.fledge/modules lists, in its order; nothing when there is no such file. Each line is a path, or a name
// that is looked up with its dependencies in /lib/modules/<release>/modules.dep.
void load_modules(void);
