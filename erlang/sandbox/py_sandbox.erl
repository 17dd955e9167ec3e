%%% @doc What a sandboxed interpreter needs of this machine: the program that makes the box, what the box is made of, whom it
%%% runs as; and where, once it runs, the interpreter is.
%%%
%%% The command lines are `py_sandbox_bwrap''s and `py_sandbox_docker''s. What is missing is an error that says what to do about it.
-module(py_sandbox).

-export([command/4, diagnosis/3, settings/1, inner/2, processes/1, held_bytes/1, exactly_held_bytes/1, close/1]).
-export_type([box/0, reason/0]).

-include_lib("kernel/include/file.hrl").

-type command() :: #{
    program := file:filename_all(),
    args := [unicode:chardata()],
    env := [{string(), string() | false}],
    stdio := use_stdio | nouse_stdio
}.
-opaque box() :: {bwrap, HasStderr :: boolean()} | {docker, Program :: file:filename_all(), Name :: string()}.
-type reason() ::
    {py_config:sandbox_kind(), no_program}
    | {bwrap, {version, Said :: string()}}
    | {bwrap, {footprint, Python :: string(), Said :: string()}}
    | {bwrap, {max_processes, Kernel :: string()}}
    | {docker, {no_daemon, Said :: string()}}
    | {docker, {no_image, string()}}
    | {py_config:sandbox_kind(), {no_directory, Io :: string()}}
    | {py_config:sandbox_kind(), {io_owner, Io :: string(), file:posix()}}
    | {py_config:sandbox_kind(), {io_link, Io :: string(), Link :: string()}}.

-define(PROBE_MS, 10_000).
%% `$@' is a command without this BEAM's own three descriptors: nothing in a box reads what is typed in the shell.
-define(DETACHED, "exec \"$@\" </dev/null >/dev/null 2>&1").
-define(QUIET, "exec \"$@\" 2>/dev/null").
%% Users that no account has: above what systemd gives to containers, below what some programs take for negative.
-define(FIRST_USER, 16#70000000).
-define(USERS, 16#0fffffff).
-define(NOBODY, 65_534).
%% As many links as Linux follows on a path (path_resolution(7)).
-define(MOST_LINKS, 40).

%%% Starting

%% @doc How to start this interpreter in its box: the program of a port, and what is kept of the box. `Stderr' is the socket
%% that is to be its standard error.
-spec command(py_config:pool(), Python :: file:filename_all(), Stderr :: file:filename_all() | undefined, Own :: map()) ->
    {ok, command(), box()} | {error, {sandbox, reason()}}.
command(#{sandbox := Kind} = Config, Python, Stderr, Own) ->
    try prepared(Kind, Config, Python, Stderr, Own) of
        {Program, Args, Env, Box} ->
            {Script, Stdio} =
                case Kind of
                    bwrap -> {?DETACHED, nouse_stdio};
                    docker -> {?QUIET, use_stdio}
                end,
            {ok, shell(Script, Own, Program, Args, Env, Stdio), Box}
    catch
        throw:{refused, Reason} -> {error, {sandbox, Reason}}
    end.

%% @doc The same for an interpreter that is to say why it does not start.
-spec diagnosis(py_config:pool(), Python :: file:filename_all(), Own :: map()) ->
    {ok, command()} | {error, {sandbox, reason()}}.
diagnosis(#{sandbox := Kind} = Config, Python, Own) ->
    try prepared(Kind, Config, Python, undefined, Own) of
        {Program, Args, Env, _Box} -> {ok, shell("exec \"$@\" </dev/null", Own, Program, Args, Env, use_stdio)}
    catch
        throw:{refused, Reason} -> {error, {sandbox, Reason}}
    end.

%% `$0' is the file of the program for seccomp(2), where there is one.
shell(Script, #{filter := Filter}, Program, Args, Env, Stdio) ->
    Flat = [flat(Arg) || Arg <- [Program | Args]],
    {Reading, Name} =
        case Filter of
            undefined -> {Script, "py-sandbox"};
            _ -> {[Script, " ", py_sandbox_bwrap:filter_descriptor(), "<\"$0\""], Filter}
        end,
    #{program => "/bin/sh", args => ["-c", lists:flatten(Reading), Name | Flat], env => Env, stdio => Stdio}.

%% Bytes of the file system stay what they are.
flat(Binary) when is_binary(Binary) -> Binary;
flat(Text) -> unicode:characters_to_list(Text).

prepared(bwrap, Config, Python, Stderr, #{arguments := Arguments, package := Package, filter := Filter}) ->
    Program = program(bwrap),
    {_, Said} = py_program:run(Program, [{args, ["--version"]}], ?PROBE_MS),
    py_sandbox_bwrap:is_usable(Said) orelse refuse({bwrap, {version, string:trim(binary_to_list(Said))}}),
    check_io(Config),
    User = user(Config),
    check_processes(User, Config),
    Env = environment(Config),
    own_stderr(User, Stderr),
    [Executable | Footprint] = footprint(Python, Package, Env),
    Box = #{
        python => Executable,
        arguments => Arguments(py_sandbox_bwrap:package()),
        package => Package,
        footprint => Footprint,
        links => [{Name, Target} || Name <- ["bin", "lib", "lib32", "lib64", "sbin"], {ok, Target} <- [root_link(Name)]],
        user => User,
        filters => Filter =/= undefined,
        stderr => Stderr
    },
    {Program, py_sandbox_bwrap:arguments(Config, Box), Env, {bwrap, Stderr =/= undefined}};
prepared(docker, #{image := Image, env := Env} = Config, _Python, _Stderr, #{flags := Flags, run := Run, is_over := IsOver}) ->
    Program = program(docker),
    probe(Program, ["version", "--format", "{{.Server.Version}}"], no_daemon),
    probe(Program, ["image", "inspect", "--format", "{{.Id}}", Image], {no_image, Image}),
    check_io(Config),
    _ = spawn(fun() -> sweep(Program, IsOver) end),
    Name = lists:flatten(io_lib:format("erl-py-~ts-~ts", [os:getpid(), binary:encode_hex(crypto:strong_rand_bytes(6))])),
    Id = integer_to_list(docker_user(Config)),
    Box = #{name => Name, owner => os:getpid(), run => Run, user => Id ++ ":" ++ Id, arguments => Flags},
    {Program, py_sandbox_docker:arguments(Config, Box), Env, {docker, Program, Name}}.

-spec refuse(reason()) -> no_return().
refuse(Reason) -> throw({refused, Reason}).

program(Kind) ->
    case os:find_executable(atom_to_list(Kind)) of
        false -> refuse({Kind, no_program});
        Program -> Program
    end.

probe(Program, Args, Otherwise) ->
    case py_program:run(Program, [{args, Args}], ?PROBE_MS) of
        {0, _} -> ok;
        {_, Said} when Otherwise =:= no_daemon ->
            refuse({docker, {no_daemon, string:trim(unicode:characters_to_list(Said))}});
        _ ->
            refuse({docker, Otherwise})
    end.

%% Nothing of this BEAM's environment: what is not named is removed.
environment(#{env := Env, python_path := Paths}) ->
    Inherited = [{hd(string:split(Variable, "=")), false} || Variable <- os:getenv(), hd(Variable) =/= $=],
    Own = [{"HOME", "/tmp"}, {"LANG", "C.UTF-8"}, {"PATH", "/usr/bin:/bin"}] ++
        [{"PYTHONPATH", string:join([text_of(filename:absname(Path)) || Path <- Paths], ":")} || Paths =/= []],
    maps:to_list(lists:foldl(fun(Some, Acc) -> maps:merge(Acc, maps:from_list(Some)) end, #{}, [Inherited, Own, Env])).

text_of(Path) when is_binary(Path) -> unicode:characters_to_list(Path);
text_of(Path) -> Path.

%% What the interpreter is made of it says itself; outside of the box, before anybody's code has run in it.
footprint(Python, Package, Env) ->
    Script = filename:join([Package, "erl", "footprint.py"]),
    case py_program:run(Python, [{args, [Script]}, {env, Env}, {cd, "/"}], ?PROBE_MS) of
        {0, <<"/", _/binary>> = Said} -> [Path || Path <- binary:split(Said, <<0>>, [global]), Path =/= <<>>];
        {_, Said} -> refuse({bwrap, {footprint, text_of(Python), string:trim(binary_to_list(Said))}})
    end.

root_link(Name) -> file:read_link_all("/" ++ Name).

%%% Whom it runs as

check_io(#{io := undefined}) -> ok;
check_io(#{sandbox := Kind, io := Io}) -> filelib:is_dir(Io) orelse refuse({Kind, {no_directory, text_of(Io)}}).

%% An ordinary user's box is that user's. Root's is the owner's of `io', or nobody's; a directory of root's is given to the
%% user that all boxes with this directory run as.
user(Config) ->
    case own_user() of
        0 -> other_user(Config);
        _ -> undefined
    end.

own_user() ->
    {ok, #file_info{uid = User}} = file:read_file_info("/proc/self"),
    User.

other_user(#{io := undefined}) ->
    mapped(?FIRST_USER + rand:uniform(?USERS));
other_user(#{io := Io, sandbox := Kind}) ->
    case file:read_file_info(Io) of
        {ok, #file_info{uid = 0, mode = Mode} = Info} ->
            check_links(Io, 0, Kind),
            User = mapped(?FIRST_USER + erlang:phash2({Info#file_info.major_device, Info#file_info.inode}, ?USERS)),
            Mode band 8#002 =/= 0 orelse give(Io, User, Kind),
            User;
        {ok, #file_info{uid = Owner}} ->
            check_links(Io, Owner, Kind),
            Owner;
        {error, _} ->
            refuse({Kind, {no_directory, text_of(Io)}})
    end.

%% A link that is neither root's nor of whom it leads to was made by somebody who may not go there: in another box, perhaps,
%% of whose `io' this one is a part.
check_links(Io, Owner, Kind) ->
    Absolute = filename:absname(text_of(Io)),
    case [Link || {Link, User} <- links(filename:split(Absolute), "/", ?MOST_LINKS), User =/= 0, User =/= Owner] of
        [] -> ok;
        [Link | _] -> refuse({Kind, {io_link, text_of(Io), Link}})
    end.

%% The links on a path, each with its owner. `At' is where the path has led so far.
links([], _At, _Left) -> [];
links(["/" | Rest], _At, Left) -> links(Rest, "/", Left);
links(["." | Rest], At, Left) -> links(Rest, At, Left);
links([".." | Rest], At, Left) -> links(Rest, filename:dirname(At), Left);
links([Name | Rest], At, Left) ->
    Path = filename:join(At, Name),
    case file:read_link_info(Path) of
        {ok, #file_info{type = symlink, uid = User}} when Left > 0 ->
            {ok, Target} = file:read_link_all(Path),
            [{Path, User} | links(filename:split(text_of(Target)) ++ Rest, At, Left - 1)];
        _ ->
            links(Rest, Path, Left)
    end.

%% What lies right below the root directory is the system's.
give(Io, User, Kind) ->
    Given =
        case place(filename:join(Io, "..")) =:= place("/") of
            false -> file:change_owner(Io, User, User);
            true -> {error, eperm}
        end,
    case Given of
        ok -> true;
        {error, Posix} -> refuse({Kind, {io_owner, text_of(Io), Posix}})
    end.

place(Path) ->
    {ok, #file_info{major_device = Device, inode = Inode}} = file:read_file_info(Path),
    {Device, Inode}.

%% In a container that has only some thousand users there is nobody.
mapped(User) ->
    case file:read_file("/proc/self/uid_map") of
        {ok, Text} ->
            [_Inside, _Outside, Count | _] = [binary_to_integer(Number) || Number <- words(Text)],
            if User < Count -> User; true -> ?NOBODY end;
        {error, _} ->
            ?NOBODY
    end.

words(Text) -> [Word || Word <- re:split(Text, "\\s+"), Word =/= <<>>].

docker_user(Config) ->
    case user(Config) of
        undefined -> own_user();
        User -> User
    end.

own_stderr(undefined, _) -> ok;
own_stderr(_, undefined) -> ok;
%% The directory that it lies in keeps everybody else out.
own_stderr(_User, Stderr) -> _ = file:change_mode(Stderr, 8#666), ok.

%% An ordinary user's limit holds for the box alone since Linux 5.14; before, all of the user's processes count.
check_processes(undefined, #{max_processes := Most}) when is_integer(Most) ->
    Kernel = os:version(),
    Kernel >= {5, 14, 0} orelse refuse({bwrap, {max_processes, version_text(Kernel)}});
check_processes(_, _) ->
    true.

version_text(Version) when is_tuple(Version) ->
    lists:flatten(lists:join(".", [integer_to_list(Number) || Number <- tuple_to_list(Version)]));
version_text(Version) ->
    Version.

%%% While it runs

%% @doc What the interpreter in the box is told of the files that one outside shares with its worker process: it has no
%% page to count in, which it could fill the machine's memory with.
-spec settings(box()) -> #{page := undefined, stderr := binary() | undefined}.
settings({bwrap, true}) -> #{page => undefined, stderr => py_sandbox_bwrap:stderr()};
settings(_) -> #{page => undefined, stderr => undefined}.

%% @doc The interpreter's own number on this machine, below that of what made the box: who is to be interrupted. Of a
%% container it is that of the client, which passes signals on. `undefined' where the system does not tell.
-spec inner(box(), OsPid :: non_neg_integer()) -> non_neg_integer() | undefined.
inner({docker, _, _}, OsPid) ->
    OsPid;
inner({bwrap, _}, OsPid) ->
    %% The first process of the box waits for the others.
    case [Interpreter || First <- children(OsPid), Interpreter <- children(First)] of
        [Interpreter | _] -> Interpreter;
        [] -> undefined
    end.

children(OsPid) ->
    Number = integer_to_list(OsPid),
    case file:read_file(["/proc/", Number, "/task/", Number, "/children"]) of
        {ok, Text} -> [binary_to_integer(Child) || Child <- words(Text)];
        {error, _} -> []
    end.

%% @doc All processes of a box, by the number of the program that made it.
-spec processes(OsPid :: non_neg_integer()) -> [OsPid :: non_neg_integer()].
processes(OsPid) ->
    Children = children(OsPid),
    Children ++ lists:append([processes(Child) || Child <- Children]).

%% @doc How much memory of their own the processes of a box have together, at most: pages that several of them share are
%% counted for each. {@link exactly_held_bytes/1} takes its time and counts them once.
-spec held_bytes(OsPid :: non_neg_integer()) -> non_neg_integer().
held_bytes(OsPid) -> kilobytes(OsPid, "status", "(?:RssAnon|RssShmem):\\s+(\\d+)") * 1_024.

-spec exactly_held_bytes(OsPid :: non_neg_integer()) -> non_neg_integer().
exactly_held_bytes(OsPid) -> kilobytes(OsPid, "smaps_rollup", "(?:Pss_Anon|Pss_Shmem|SwapPss):\\s+(\\d+)") * 1_024.

kilobytes(OsPid, File, Pattern) ->
    lists:sum([
        binary_to_integer(Number)
     || Pid <- processes(OsPid),
        {ok, Text} <- [file:read_file(["/proc/", integer_to_list(Pid), "/", File])],
        {match, Found} <- [re:run(Text, Pattern, [global, {capture, all_but_first, binary}])],
        [Number] <- Found
    ]).

%% @doc End what a killed box leaves: a container does not end with its client.
-spec close(box()) -> ok.
close({bwrap, _}) ->
    ok;
close({docker, Program, Name}) ->
    _ = spawn(fun() -> py_program:run(Program, [{args, py_sandbox_docker:kill(Name)}], ?PROBE_MS) end),
    ok.

%% Containers of BEAMs that were killed. One that runs in a container of its own may talk to the same daemon: its number means
%% nothing here.
sweep(Program, IsOver) ->
    {_, Ids} = py_program:run(Program, [{args, ["ps", "--quiet", "--filter", "label=erl-py"]}], ?PROBE_MS),
    Look = ["inspect", "--format", "{{.Name}} {{index .Config.Labels \"erl-py\"}} {{index .Config.Labels \"erl-py-run\"}}"],
    {_, Said} = py_program:run(Program, [{args, Look ++ words(Ids)}], ?PROBE_MS),
    _ = [
        py_program:run(Program, [{args, py_sandbox_docker:kill(string:trim(binary_to_list(Name), leading, "/"))}], ?PROBE_MS)
     || Line <- binary:split(Said, <<"\n">>, [global]), [Name, Owner, Run] <- [words(Line)],
        IsOver(binary_to_list(Owner), binary_to_list(Run))
    ],
    ok.
