/*
 * What dockerd starts itself again for, done before its own start.
 *
 * Two steps of each `docker run` are programs of a few system calls that dockerd keeps within itself: it is started
 * again under another name, and initializes all of its packages first. That was half of all instructions of a
 * `docker run`. This library is loaded before every dynamic program. In one with such a name it does the step and ends
 * the process; where anything is not as expected it does nothing, and dockerd does the step itself.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* "set-ipv6 NETWORK-NAMESPACE INTERFACE true|false": switches IPv6 on an interface on or off. */
static bool set_ipv6(int count, char **arguments)
{
	char path[PATH_MAX];

	if (count != 4 || strchr(arguments[2], '/') != NULL)
		return false;
	int length = snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", arguments[2]);
	if (length < 0 || (size_t)length >= sizeof path)
		return false;
	int namespace = open(arguments[1], O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || setns(namespace, CLONE_NEWNET) != 0)
		return false;
	int setting = open(path, O_WRONLY | O_CLOEXEC);
	return setting >= 0 && write(setting, strcmp(arguments[3], "true") == 0 ? "0\n" : "1\n", 2) == 2;
}

/* The process number in the state of a container that a runtime gives to its hooks, or -1. */
static long process_of(const char *state)
{
	static const char key[] = "\"pid\"";

	for (const char *at = strstr(state, key); at != NULL; at = strstr(at, key)) {
		at += sizeof key - 1;
		at += strspn(at, " \t\r\n");
		if (*at != ':')
			continue;
		char *end;
		long process = strtol(at + 1, &end, 10);
		if (end != at + 1 && process > 0)
			return process;
	}
	return -1;
}

/* Reads standard input to its end, as a string; -1 if it does not fit. */
static ssize_t read_input(char *buffer, size_t size)
{
	size_t length = 0;

	while (length < size - 1) {
		ssize_t count = read(STDIN_FILENO, buffer + length, size - 1 - length);
		if (count < 0)
			return -1;
		if (count == 0) {
			buffer[length] = '\0';
			return (ssize_t)length;
		}
		length += (size_t)count;
	}
	return -1;
}

/* Makes what was read of standard input readable again. */
static bool unread_input(const char *bytes, size_t length)
{
	int ends[2];

	/* A pipe takes 64 KiB without a reader. */
	if (pipe(ends) != 0 || write(ends[1], bytes, length) != (ssize_t)length)
		return false;
	close(ends[1]);
	return dup2(ends[0], STDIN_FILENO) == STDIN_FILENO && close(ends[0]) == 0;
}

/* Tells dockerd which process's network namespace a container has, and waits for its answer. */
static bool tell_dockerd(const char *socket_path, const char *container, long process)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char message[512], answer[1024];

	if (strlen(socket_path) >= sizeof address.sun_path)
		return false;
	strcpy(address.sun_path, socket_path);
	int length = snprintf(message, sizeof message, "{\"ContainerID\":\"%s\",\"Key\":\"/proc/%ld/ns/net\"}",
			      container, process);
	if (length < 0 || (size_t)length >= sizeof message)
		return false;
	int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) != 0)
		return false;
	if (write(connection, message, (size_t)length) != length)
		return false;
	ssize_t count = read(connection, answer, sizeof answer - 1);
	if (count < 0)
		return false;
	answer[count] = '\0';
	if (strcmp(answer, "success") == 0)
		return true;
	/* dockerd has heard and refused: asking again would not help. */
	fprintf(stderr, "error: %s\n", answer);
	_exit(EXIT_FAILURE);
}

/* "libnetwork-setkey -exec-root=FOLDER CONTAINER CONTROLLER", a hook: the container's state is standard input. */
static bool set_key(int count, char **arguments)
{
	static const char root_option[] = "-exec-root=";
	static char state[65536];
	char socket_path[PATH_MAX];

	if (count != 4 || strncmp(arguments[1], root_option, sizeof root_option - 1) != 0)
		return false;
	/* Numbers in hexadecimal, which need no quoting. */
	if (arguments[2][strspn(arguments[2], "0123456789abcdef")] != '\0')
		return false;
	int length = snprintf(socket_path, sizeof socket_path, "%s/libnetwork/%s.sock",
			      arguments[1] + sizeof root_option - 1, arguments[3]);
	if (length < 0 || (size_t)length >= sizeof socket_path || access(socket_path, W_OK) != 0)
		return false;
	ssize_t read_bytes = read_input(state, sizeof state);
	if (read_bytes < 0)
		return false;
	long process = process_of(state);
	if (process > 0 && tell_dockerd(socket_path, arguments[2], process))
		return true;
	if (!unread_input(state, (size_t)read_bytes))
		_exit(EXIT_FAILURE);
	return false;
}

__attribute__((constructor)) static void begin(int count, char **arguments)
{
	if (count < 1)
		return;
	bool is_done = (strcmp(arguments[0], "set-ipv6") == 0 && set_ipv6(count, arguments)) ||
		       (strcmp(arguments[0], "libnetwork-setkey") == 0 && set_key(count, arguments));
	if (is_done)
		_exit(EXIT_SUCCESS);
}
