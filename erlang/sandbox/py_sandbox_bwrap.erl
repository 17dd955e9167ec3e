%%% @doc The command that runs an interpreter in bubblewrap (bwrap(1)). Pure.
%%%
%%% What the box sees is put together from nothing: the parts of the file system that the interpreter is made of, read-only;
%%% `/io' where the pool has one; a `/proc' of its own processes, a `/dev' without devices of the machine, and room in
%%% memory at `/tmp' and `/dev/shm'. It has its own process numbers, network, message queues and host name.
%%%
%%% The box's process is nobody. For an ordinary user that is what a user namespace makes of it. A BEAM that runs as root
%%% has it take another user id, which no account has: to be root without rights is still to own the machine's files, and
%%% the kernel's settings below `/proc/sys'.
-module(py_sandbox_bwrap).

-export([arguments/2, is_usable/1, stderr/0, package/0, filter_descriptor/0]).
-export_type([box/0]).

-type box() :: #{
    python := file:filename_all(),
    arguments := [unicode:chardata()],
    package := file:filename_all(),
    footprint := [binary()],
    links := [{Name :: string(), Target :: string()}],
    user := undefined | pos_integer(),
    filters => boolean(),
    stderr := undefined | file:filename_all()
}.
%% The interpreter and its arguments; where the package `erl' lies; what the interpreter is made of; links of the root
%% directory, such as `/lib'; the user that it becomes; whether a program for seccomp is there to be read; the socket of its
%% standard error.

%% As Debian 12 and Ubuntu 24.04 have it: `--size', `--disable-userns'.
-define(OLDEST, [0, 8, 0]).
%% Where Python finds these in the box.
-define(PACKAGE, "/opt/py").
-define(STDERR, "/run/py/stderr").
%% What a box can keep at /tmp and /dev/shm each, of what it may have of memory.
-define(SHARE, 4).
-define(ROOM_BYTES, 268_435_456).

%% @doc Whether a `bwrap' that says this of its version will do.
-spec is_usable(binary()) -> boolean().
is_usable(Said) ->
    case re:run(Said, "(\\d+)\\.(\\d+)\\.(\\d+)", [{capture, all_but_first, list}]) of
        {match, Numbers} -> [list_to_integer(Number) || Number <- Numbers] >= ?OLDEST;
        nomatch -> false
    end.

%% @doc Where the box has the socket of its standard error.
-spec stderr() -> binary().
stderr() -> <<?STDERR>>.

%% @doc The directory in the box that has the package `erl'.
-spec package() -> string().
package() -> ?PACKAGE.

%% @doc The descriptor that it reads a program for seccomp(2) from, and closes.
-spec filter_descriptor() -> string().
filter_descriptor() -> "9".

%% @doc The arguments of `bwrap'.
-spec arguments(py_config:pool(), box()) -> [unicode:chardata()].
arguments(Config, Box) ->
    lists:append([
        apart(Config, Box),
        system(Config),
        mounts(Box),
        shared(Config, Box),
        ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", directory(Config), "--"],
        gate(Config, Box)
    ]).

%% Without a user namespace of its own (root's box has none) it is the changed user that takes all rights away.
apart(Config, #{user := User} = Box) ->
    lists:append([["--seccomp", filter_descriptor()] || maps:get(filters, Box, false)]) ++
    ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"] ++
        ["--unshare-net" || maps:get(network, Config) =:= none] ++
        ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL"] ++
        case User of
            undefined -> ["--unshare-user", "--disable-userns"];
            _ -> ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        end ++
        lists:append([["--unsetenv", Name] || Name <- ["PWD", "OLDPWD", "SHLVL", "_"]]).

system(Config) ->
    Room = integer_to_list(room(Config)),
    [
        "--proc", "/proc", "--dev", "/dev",
        "--perms", "1777", "--size", Room, "--tmpfs", "/dev/shm",
        "--perms", "1777", "--size", Room, "--tmpfs", "/tmp"
    ].

room(#{max_memory := Most}) when is_integer(Most) -> min(?ROOM_BYTES, Most div ?SHARE);
room(_) -> ?ROOM_BYTES.

mounts(#{footprint := Footprint, links := Links, package := Package}) ->
    Real = outermost(lists:sort([{real(text(Path), Links), Path} || Path <- Footprint])),
    Parents = [?PACKAGE, filename:dirname(?STDERR)] ++ [filename:dirname(Target) || {Target, _} <- Real],
    Directories = lists:usort(lists:append([above(Parent) || Parent <- Parents])),
    lists:append([["--symlink", Target, "/" ++ Name] || {Name, Target} <- Links, is_linked(Name, Footprint)]) ++
        %% Those that it makes by itself only root may enter.
        lists:append([["--perms", "0755", "--dir", Path] || Path <- Directories]) ++
        lists:append([["--ro-bind", Source, Target] || {Target, Source} <- Real]) ++
        ["--ro-bind", filename:join(Package, "erl"), ?PACKAGE ++ "/erl"].

%% A directory and those above it, but for what is there already.
above(Path) when Path =:= "/"; Path =:= "/tmp"; Path =:= "/dev"; Path =:= "/proc" -> [];
above(Path) -> [Path | above(filename:dirname(Path))].

%% `/lib/x' where `/lib' leads to `usr/lib'.
real("/" ++ Path, Links) ->
    [First | Rest] = filename:split(Path),
    case lists:keyfind(First, 1, Links) of
        {_, "/" ++ Target} -> filename:join(["/", Target | Rest]);
        {_, Target} -> filename:join(["/", Target | Rest]);
        false -> filename:join(["/", First | Rest])
    end.

%% A name that is no UTF-8 stays what it is.
text(Path) ->
    case unicode:characters_to_list(Path) of
        Text when is_list(Text) -> Text;
        _ -> binary_to_list(Path)
    end.

is_linked(Name, Footprint) ->
    lists:any(
        fun(Path) ->
            case filename:split(text(Path)) of
                ["/", Name | _] -> true;
                _ -> false
            end
        end,
        Footprint
    ).

%% What lies below another one is there with it. In the order of their names a path comes before what is below it.
outermost(Sorted) -> outermost(Sorted, []).

outermost([{Path, _} = One | Rest], Kept) ->
    case lists:any(fun({Outer, _}) -> Outer =:= Path orelse lists:prefix(Outer ++ "/", Path) end, Kept) of
        true -> outermost(Rest, Kept);
        false -> outermost(Rest, [One | Kept])
    end;
outermost([], Kept) ->
    lists:reverse(Kept).

shared(#{io := Io, network := Network}, #{stderr := Stderr}) ->
    ["--dir", "/io"] ++ lists:append([["--bind", filename:absname(Io), "/io"] || Io =/= undefined]) ++
        lists:append([["--bind", Stderr, ?STDERR] || Stderr =/= undefined]) ++
        %% Names and certificates, for a box that has the network.
        lists:append([
            ["--ro-bind-try", File, File]
         || Network =:= host, File <- ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/certs"]
        ]).

directory(#{cd := undefined}) -> "/tmp";
directory(#{cd := Directory}) -> Directory.

%% The first program of the box binds itself to the limits, and then becomes the interpreter.
gate(Config, #{python := Python, arguments := Arguments, user := User}) ->
    #{max_memory := Bytes, max_cpu_seconds := Seconds, max_processes := Processes} = Config,
    [Python, "-I", "-S", ?PACKAGE ++ "/erl/gate.py"] ++ [limit(Limit) || Limit <- [User, Bytes, Seconds, Processes]] ++
        [Python | Arguments].

limit(Limit) when is_integer(Limit) -> integer_to_list(Limit);
limit(_) -> "-".
