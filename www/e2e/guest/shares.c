/* Checks what no program of the guest's shell asks for, in the current directory: locks and extended attributes. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void expect(const char *what, int is_right)
{
	printf("%s: %s\n", is_right ? "right" : "WRONG", what);
	fflush(stdout);
}

/* Locks a range of bytes; 0, or why not. */
static int lock(int file, short type, off_t start, off_t length)
{
	struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
	return fcntl(file, F_SETLK, &range) == 0 ? 0 : errno;
}

/* What `lock` says in another process. */
static int lock_elsewhere(short type, off_t start, off_t length)
{
	pid_t child = fork();
	if (child == 0) {
		int file = open("locked", O_RDWR);
		_exit(file < 0 ? 255 : lock(file, type, start, length));
	}
	int status = 0;
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

int main(void)
{
	int file = open("locked", O_RDWR | O_CREAT, 0644);

	expect("a range is locked", lock(file, F_WRLCK, 10, 10) == 0);
	expect("a range that another process has locked", lock_elsewhere(F_RDLCK, 19, 5) == EAGAIN);
	expect("a range beside it", lock_elsewhere(F_WRLCK, 20, 5) == 0);
	expect("a part is freed", lock(file, F_UNLCK, 15, 5) == 0 && lock_elsewhere(F_WRLCK, 15, 5) == 0);
	expect("the other part is not", lock_elsewhere(F_WRLCK, 14, 1) == EAGAIN);
	expect("readers share", lock(file, F_RDLCK, 10, 5) == 0 && lock_elsewhere(F_RDLCK, 10, 5) == 0);
	expect("what they share is not written", lock_elsewhere(F_WRLCK, 10, 1) == EAGAIN);
	close(file);
	expect("closed files are free", lock_elsewhere(F_WRLCK, 0, 0) == 0);

	int first = open("locked", O_RDONLY), second = open("locked", O_RDONLY);
	expect("a whole file is locked", flock(first, LOCK_EX | LOCK_NB) == 0);
	expect("a file that is locked", flock(second, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
	close(first);
	expect("a file that is free again", flock(second, LOCK_EX | LOCK_NB) == 0);
	close(second);

	char value[16] = "", names[64] = "";
	expect("an extended attribute is made", setxattr("locked", "user.one", "first", 5, XATTR_CREATE) == 0);
	expect("it is not made twice", setxattr("locked", "user.one", "x", 1, XATTR_CREATE) != 0 && errno == EEXIST);
	expect("it is replaced", setxattr("locked", "user.one", "again", 5, XATTR_REPLACE) == 0);
	expect("it is read", getxattr("locked", "user.one", value, sizeof value) == 5 && memcmp(value, "again", 5) == 0);
	expect("its room is too small", getxattr("locked", "user.one", value, 2) < 0 && errno == ERANGE);
	expect("all are listed", listxattr("locked", names, sizeof names) == 9 && strcmp(names, "user.one") == 0);
	expect("it is removed", removexattr("locked", "user.one") == 0);
	expect("it is gone", getxattr("locked", "user.one", value, sizeof value) < 0 && errno == ENODATA);
	unlink("locked");
	return 0;
}
