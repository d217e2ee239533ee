// What errno means.
#pragma once

// "no such file or directory (ENOENT)"; for a number that the table does not have, NULL.
const char *error_text(int error);
