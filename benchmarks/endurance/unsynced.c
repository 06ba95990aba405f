/* What a power cut leaves behind: an LD_PRELOAD layer that keeps a copy of all that was synced, and nothing else.
 *
 * UNSYNCED_ROOT is the folder that is watched, UNSYNCED_KEPT the folder of the copies, on the same machine but outside.
 * fsync and fdatasync of a file copy its content; fsync of a folder writes down the names in it. Each file and folder is
 * known by inode and time of birth, since inodes are used again. A cut (power_cut.py) builds the tree anew from the copies:
 * a file is there if the folder that names it was synced after that, with the content of its own last sync.
 *
 * gcc -shared -fPIC -O2 -o unsynced.so unsynced.c -ldl -lpthread
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int key_of(int at, const char *name, int flags, char *key, size_t size, int *is_folder) {
    struct statx status;
    if (statx(at, name, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status) != 0)
        return -1;
    *is_folder = S_ISDIR(status.stx_mode);
    if (!*is_folder && !S_ISREG(status.stx_mode))
        return -1;
    snprintf(key, size, "%llu-%lld-%u", (unsigned long long)status.stx_ino, (long long)status.stx_btime.tv_sec,
             status.stx_btime.tv_nsec);
    return 0;
}

static int is_watched(int fd, char *path) {
    const char *root = getenv("UNSYNCED_ROOT");
    char link[64];
    if (root == NULL || getenv("UNSYNCED_KEPT") == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) == 0;
}

static int copy_file(int fd, int out) {
    static char buffer[1 << 16];
    char again[64];
    off_t at = 0;
    ssize_t n;
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    int in = open(again, O_RDONLY | O_CLOEXEC); /* fd may be for writing only */
    if (in < 0)
        return -1;
    while ((n = pread(in, buffer, sizeof buffer, at)) > 0) {
        if (write(out, buffer, (size_t)n) != n) {
            n = -1;
            break;
        }
        at += n;
    }
    close(in);
    return n < 0 ? -1 : 0;
}

static int copy_names(const char *path, int out) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    char key[96], line[PATH_MAX];
    int is_folder;
    if (folder == NULL)
        return -1;
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (key_of(dirfd(folder), entry->d_name, 0, key, sizeof key, &is_folder) != 0)
            continue;
        int n = snprintf(line, sizeof line, "%c %s %s\n", is_folder ? 'd' : 'f', key, entry->d_name);
        if (write(out, line, (size_t)n) != n)
            break;
    }
    closedir(folder);
    return 0;
}

static int keep(int fd) {
    char path[PATH_MAX], key[96], kept[PATH_MAX], part[PATH_MAX];
    int is_folder, failed;
    if (!is_watched(fd, path) || key_of(fd, "", AT_EMPTY_PATH, key, sizeof key, &is_folder) != 0)
        return 0;
    if (strcmp(path, getenv("UNSYNCED_ROOT")) == 0)
        strcpy(key, "root"); /* where a cut begins to build */
    snprintf(kept, sizeof kept, "%.3000s/%.95s", getenv("UNSYNCED_KEPT"), key);
    snprintf(part, sizeof part, "%.3500s.%d", kept, getpid());
    pthread_mutex_lock(&lock);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    failed = out < 0 || (is_folder ? copy_names(path, out) : copy_file(fd, out)) != 0;
    if (out >= 0)
        close(out);
    failed = failed || rename(part, kept) != 0;
    pthread_mutex_unlock(&lock);
    if (failed) {
        fprintf(stderr, "unsynced: cannot keep %s: %s\n", path, strerror(errno));
        abort();
    }
    return 0;
}

/* The copy stands for the disk, so the real one need not be synced. */
int fsync(int fd) { return keep(fd); }
int fdatasync(int fd) { return keep(fd); }
