%%% @doc What a box may not ask of the kernel: a program for seccomp(2), as bubblewrap's `--seccomp' reads it. Pure.
%%%
%%% Everything else is let through. What is refused is of no use to a Python that computes, and is much of what faults of the
%%% kernel were found in (io_uring, BPF, performance counters, user namespaces within the box), reaches what no namespace parts
%%% (keyrings, VSOCK, the kernel's log), or leaves something outside: a file in `/io' that runs as the box's user, whoever
%%% starts it (set-user-ID).
%%%
%%% A program is a list of instructions (linux/filter.h): `{Code, JumpTrue, JumpFalse, K}'; a jump counts the instructions that it
%%% passes over.
%%% @private
-module(py_seccomp).

-export([filter/1, descriptor/0]).

-define(LOAD, 16#20).
-define(IF_EQUAL, 16#15).
-define(IF_AT_LEAST, 16#35).
-define(IF_ANY_BIT, 16#45).
-define(RETURN, 16#06).
-define(ALLOW, 16#7fff0000).
-define(ERRNO(Number), (16#50000 bor (Number))).
-define(EPERM, 1).
-define(ENOSYS, 38).
-define(EAFNOSUPPORT, 97).
%% Where `struct seccomp_data' has the number of the call, the architecture, and the lower half of each argument.
-define(NUMBER, 0).
-define(ARCHITECTURE, 4).
-define(ARGUMENT(N), (16 + 8 * (N))).
%% Of x86-64's other way to be called, with pointers of four bytes.
-define(X32, 16#40000000).
%% CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET.
-define(NAMESPACES, 16#7e020000).
%% S_ISUID, S_ISGID.
-define(SET_ID, 8#6000).
%% O_CREAT, __O_TMPFILE: only then a mode is looked at.
-define(CREATES, 16#400040).
%% AF_UNIX, AF_INET, AF_INET6, AF_NETLINK.
-define(FAMILIES, [1, 2, 10, 16]).

%% @doc The descriptor that bubblewrap reads a program from, and closes.
-spec descriptor() -> string().
descriptor() -> "9".

%% @doc The program for an architecture, as `erlang:system_info(system_architecture)' has it; `none' for one whose numbers are not
%% known here.
-spec filter(string()) -> {ok, binary()} | none.
filter("x86_64" ++ _) -> {ok, bytes(program(16#c000003e, [[{?IF_AT_LEAST, 0, 1, ?X32}, refuse(?ENOSYS)]], x86_64()))};
filter("aarch64" ++ _) -> {ok, bytes(program(16#c00000b7, [], aarch64()))};
filter(_) -> none.

bytes(Program) -> << <<Code:16/little, True, False, K:32/little>> || {Code, True, False, K} <- Program >>.

%% The numbers of the calls; those of newer ones are the same everywhere.
x86_64() ->
    #{
        missing => [435, 437, 425, 426, 427, 447],
        forbidden => [248, 249, 250, 321, 298, 323, 103, 154, 308],
        clone => 56, unshare => 272, sockets => [41, 53],
        %% chmod, fchmod, mknod, creat; fchmodat, fchmodat2, mknodat: the number of the argument that is the mode.
        modes => [{90, 1}, {91, 1}, {133, 1}, {85, 1}, {268, 2}, {452, 2}, {259, 2}],
        %% open, openat: those of the flags, which the mode comes after.
        opens => [{2, 1}, {257, 2}]
    }.

aarch64() ->
    #{
        missing => [435, 437, 425, 426, 427, 447],
        forbidden => [217, 218, 219, 280, 241, 282, 116, 268],
        clone => 220, unshare => 97, sockets => [198, 199],
        modes => [{52, 1}, {53, 2}, {452, 2}, {33, 2}],
        opens => [{56, 2}]
    }.

%% `missing': clone3, openat2 (whose arguments can't be looked at: the C library then takes the older ones), io_uring, memfd_secret.
%% `forbidden': keyrings, bpf, perf_event_open, userfaultfd, syslog, modify_ldt, setns.
program(Architecture, First, Calls) ->
    #{missing := Missing, forbidden := Forbidden, clone := Clone, unshare := Unshare, sockets := Sockets} = Calls,
    #{modes := Modes, opens := Opens} = Calls,
    lists:append(
        [
            [{?LOAD, 0, 0, ?ARCHITECTURE}, {?IF_EQUAL, 1, 0, Architecture}, refuse(?ENOSYS), {?LOAD, 0, 0, ?NUMBER}]
            | First
        ] ++
            [on(Number, [refuse(?ENOSYS)]) || Number <- Missing] ++
            [on(Number, [refuse(?EPERM)]) || Number <- Forbidden] ++
            [on(Number, unless_any(?NAMESPACES, 0)) || Number <- [Clone, Unshare]] ++
            [on(Number, one_of(?FAMILIES, 0)) || Number <- Sockets] ++
            [on(Number, unless_any(?SET_ID, Mode)) || {Number, Mode} <- Modes] ++
            [on(Number, opens(Flags)) || {Number, Flags} <- Opens] ++
            [[allow()]]
    ).

refuse(Errno) -> {?RETURN, 0, 0, ?ERRNO(Errno)}.

allow() -> {?RETURN, 0, 0, ?ALLOW}.

%% A call that is judged by these instructions, which end all.
on(Number, Instructions) -> [{?IF_EQUAL, 0, length(Instructions), Number} | Instructions].

unless_any(Bits, Argument) ->
    [{?LOAD, 0, 0, ?ARGUMENT(Argument)}, {?IF_ANY_BIT, 0, 1, Bits}, refuse(?EPERM), allow()].

one_of(Values, Argument) ->
    Passed = lists:seq(length(Values), 1, -1),
    [{?LOAD, 0, 0, ?ARGUMENT(Argument)}] ++
        [{?IF_EQUAL, Left, 0, Value} || {Value, Left} <- lists:zip(Values, Passed)] ++
        [refuse(?EAFNOSUPPORT), allow()].

opens(Flags) -> [{?LOAD, 0, 0, ?ARGUMENT(Flags)}, {?IF_ANY_BIT, 0, 3, ?CREATES} | unless_any(?SET_ID, Flags + 1)].
