%%% @doc A box of bubblewrap's (bwrap(1)): the command that runs an interpreter in it, and what is in it once it runs.
%%%
%%% What the box sees is put together from nothing: the parts of the file system that the interpreter is made of, read-only;
%%% `/io' where the pool has one; a `/proc' of its own processes, a `/dev' without devices of the machine, and room in
%%% memory at `/tmp' and `/dev/shm'. It has its own process numbers, network, message queues and host name.
%%%
%%% The box's process is nobody. For an ordinary user that is what a user namespace makes of it. A BEAM that runs as root
%%% has it take another user id, which no account has: to be root without rights is still to own the machine's files, and
%%% the kernel's settings below `/proc/sys'.
%%% @private
-module(py_sandbox_bwrap).
-behaviour(py_sandbox).

-export([command/4, settings/1, inner/2, close/1]).
-export([arguments/2, is_usable/1]).
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

-define(PROBE_MS, 10_000).
%% `$@' is a command without this BEAM's own three descriptors: nothing in a box reads what is typed in the shell.
-define(DETACHED, "exec \"$@\" </dev/null >/dev/null 2>&1").
%% As Debian 12 and Ubuntu 24.04 have it: `--size', `--disable-userns'.
-define(OLDEST, [0, 8, 0]).
%% Where Python finds these in the box.
-define(PACKAGE, "/opt/py").
-define(STDERR, "/run/py/stderr").
%% What a box can keep at /tmp and /dev/shm each, of what it may have of memory.
-define(SHARE, 4).
-define(ROOM_BYTES, 268_435_456).

%% @private
-spec command(py_config:pool(), file:filename_all(), file:filename_all() | undefined, py_sandbox:own()) ->
    {py_sandbox:made(), HasStderr :: boolean()}.
command(Config, Python, Stderr, #{arguments := Arguments, package := Package, filter := Filter}) ->
    Program = py_sandbox_host:program(bwrap),
    {_, Said} = py_program:run(Program, [{args, ["--version"]}], ?PROBE_MS),
    is_usable(Said) orelse py_sandbox_host:refuse({bwrap, {version, string:trim(binary_to_list(Said))}}),
    py_sandbox_host:check_io(Config),
    User = py_sandbox_host:user(Config),
    py_sandbox_host:give_mounts(User, Config),
    check_processes(User, Config),
    Env = environment(Config),
    own_stderr(User, Stderr),
    [Executable | Footprint] = footprint(Python, Package, Env),
    Box = #{
        python => Executable,
        arguments => Arguments(?PACKAGE),
        package => Package,
        footprint => Footprint,
        links => [{Name, Target} || Name <- ["bin", "lib", "lib32", "lib64", "sbin"], {ok, Target} <- [root_link(Name)]],
        user => User,
        filters => Filter =/= undefined,
        stderr => Stderr
    },
    Made = #{program => Program, args => arguments(Config, Box), env => Env, script => ?DETACHED, stdio => nouse_stdio},
    {Made, Stderr =/= undefined}.

%% Nothing of this BEAM's environment: what is not named is removed.
environment(#{env := Env, python_path := Paths}) ->
    Inherited = [{hd(string:split(Variable, "=")), false} || Variable <- os:getenv(), hd(Variable) =/= $=],
    Own = [{"HOME", "/tmp"}, {"LANG", "C.UTF-8"}, {"PATH", "/usr/bin:/bin"}] ++
        [{"PYTHONPATH", string:join([py_sandbox_host:text_of(filename:absname(Path)) || Path <- Paths], ":")} || Paths =/= []],
    maps:to_list(lists:foldl(fun(Some, Acc) -> maps:merge(Acc, maps:from_list(Some)) end, #{}, [Inherited, Own, Env])).

%% What the interpreter is made of it says itself; outside of the box, before anybody's code has run in it.
footprint(Python, Package, Env) ->
    Script = filename:join([Package, "erl", "sandbox", "footprint.py"]),
    case py_program:run(Python, [{args, [Script]}, {env, Env}, {cd, "/"}], ?PROBE_MS) of
        {0, <<"/", _/binary>> = Said} -> [Path || Path <- binary:split(Said, <<0>>, [global]), Path =/= <<>>];
        {_, Said} -> py_sandbox_host:refuse({bwrap, {footprint, py_sandbox_host:text_of(Python), string:trim(binary_to_list(Said))}})
    end.

root_link(Name) -> file:read_link_all("/" ++ Name).

own_stderr(undefined, _) -> ok;
own_stderr(_, undefined) -> ok;
%% The directory that it lies in keeps everybody else out.
own_stderr(_User, Stderr) -> _ = file:change_mode(Stderr, 8#666), ok.

%% An ordinary user's limit holds for the box alone since Linux 5.14; before, all of the user's processes count.
check_processes(undefined, #{max_processes := Most}) when is_integer(Most) ->
    Kernel = os:version(),
    Kernel >= {5, 14, 0} orelse py_sandbox_host:refuse({bwrap, {max_processes, version_text(Kernel)}});
check_processes(_, _) ->
    true.

version_text(Version) when is_tuple(Version) ->
    lists:flatten(lists:join(".", [integer_to_list(Number) || Number <- tuple_to_list(Version)]));
version_text(Version) ->
    Version.

%% @private
-spec settings(HasStderr :: boolean()) -> #{page := undefined, stderr := binary() | undefined}.
settings(true) -> #{page => undefined, stderr => <<?STDERR>>};
settings(false) -> #{page => undefined, stderr => undefined}.

%% @private The first process of the box waits for the others.
-spec inner(boolean(), OsPid :: non_neg_integer()) -> non_neg_integer() | undefined.
inner(_, OsPid) ->
    case [Python || First <- py_sandbox_processes:children(OsPid), Python <- py_sandbox_processes:children(First)] of
        [Python | _] -> Python;
        [] -> undefined
    end.

%% @private Nothing outlives the program that made it.
-spec close(boolean()) -> ok.
close(_) -> ok.

%%% The command line

%% @doc Whether a `bwrap' that says this of its version will do.
-spec is_usable(binary()) -> boolean().
is_usable(Said) ->
    case re:run(Said, "(\\d+)\\.(\\d+)\\.(\\d+)", [{capture, all_but_first, list}]) of
        {match, Numbers} -> [list_to_integer(Number) || Number <- Numbers] >= ?OLDEST;
        nomatch -> false
    end.

%% @doc The arguments of `bwrap'.
-spec arguments(py_config:pool(), box()) -> [unicode:chardata()].
arguments(Config, Box) ->
    lists:append([
        apart(Config, Box),
        system(Config),
        mounts(Box),
        shared(Config, Box),
        added(Config),
        ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", directory(Config), "--"],
        gate(Config, Box)
    ]).

%% Without a user namespace of its own (root's box has none) it is the changed user that takes all rights away.
apart(Config, #{user := User} = Box) ->
    lists:append([["--seccomp", py_seccomp:descriptor()] || maps:get(filters, Box, false)]) ++
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

added(#{mounts := Mounts} = Config) ->
    Room = integer_to_list(room(Config)),
    lists:append([
        case Mount of
            {directory, Source, Target} -> ["--bind", Source, Target];
            {empty, Target} -> ["--perms", "1777", "--size", Room, "--tmpfs", Target]
        end
     || Mount <- Mounts
    ]);
added(_Config) ->
    [].

directory(#{cd := undefined}) -> "/tmp";
directory(#{cd := Directory}) -> Directory.

%% The first program of the box binds itself to the limits, and then becomes the interpreter.
gate(Config, #{python := Python, arguments := Arguments, user := User}) ->
    #{max_memory := Bytes, max_cpu_seconds := Seconds, max_processes := Processes} = Config,
    [Python, "-I", "-S", ?PACKAGE ++ "/erl/sandbox/gate.py"] ++ [limit(Limit) || Limit <- [User, Bytes, Seconds, Processes]] ++
        [Python | Arguments].

limit(Limit) when is_integer(Limit) -> integer_to_list(Limit);
limit(_) -> "-".
