%%% @doc A box that is a container of Docker's (docker-run(1)): the command that runs an interpreter in it, and what becomes of it.
%%%
%%% The protocol goes over the container's standard input and output. What bounds the box is Docker's: cgroups for memory and
%%% processes, its own namespaces for the rest. The image brings the interpreter; `docker/Dockerfile' makes one.
%%% @private
-module(py_sandbox_docker).
-behaviour(py_sandbox).

-export([command/4, settings/1, inner/2, close/1]).
-export([arguments/2, kill/1]).
-export_type([box/0]).

-type box() :: #{
    name := string(),
    owner := string(),
    run => string(),
    user := string(),
    arguments := [string()]
}.
%% The container's name; the operating system's number of the BEAM that owns it, and what tells that run
%% from others; `User:Group' that it runs as; the port
%% program's flags.

-type state() :: {Program :: file:filename_all(), Name :: string()}.

-define(PROBE_MS, 10_000).
%% The container's standard input and output are the protocol's.
-define(QUIET, "exec \"$@\" 2>/dev/null").
%% Room in memory at /tmp.
-define(ROOM, "size=268435456").

%% @private
-spec command(py_config:pool(), file:filename_all(), file:filename_all() | undefined, py_sandbox:own()) ->
    {py_sandbox:made(), state()}.
command(#{image := Image, env := Env} = Config, _Python, _Stderr, #{flags := Flags, run := Run, is_over := IsOver}) ->
    Program = py_sandbox_host:program(docker),
    probe(Program, ["version", "--format", "{{.Server.Version}}"], no_daemon),
    probe(Program, ["image", "inspect", "--format", "{{.Id}}", Image], {no_image, Image}),
    py_sandbox_host:check_io(Config),
    _ = spawn(fun() -> sweep(Program, IsOver) end),
    Name = lists:flatten(io_lib:format("erl-py-~ts-~ts", [os:getpid(), binary:encode_hex(crypto:strong_rand_bytes(6))])),
    Id = integer_to_list(user(Config)),
    Box = #{name => Name, owner => os:getpid(), run => Run, user => Id ++ ":" ++ Id, arguments => Flags},
    Made = #{program => Program, args => arguments(Config, Box), env => Env, script => ?QUIET, stdio => use_stdio},
    {Made, {Program, Name}}.

probe(Program, Args, Otherwise) ->
    case py_program:run(Program, [{args, Args}], ?PROBE_MS) of
        {0, _} -> ok;
        {_, Said} when Otherwise =:= no_daemon ->
            py_sandbox_host:refuse({docker, {no_daemon, string:trim(unicode:characters_to_list(Said))}});
        _ ->
            py_sandbox_host:refuse({docker, Otherwise})
    end.

user(Config) ->
    case py_sandbox_host:user(Config) of
        undefined -> py_sandbox_host:own_user();
        User -> User
    end.

%% @private
-spec settings(state()) -> #{page := undefined, stderr := undefined}.
settings(_) -> #{page => undefined, stderr => undefined}.

%% @private The client passes signals on.
-spec inner(state(), OsPid :: non_neg_integer()) -> non_neg_integer().
inner(_, OsPid) -> OsPid.

%% @private
-spec close(state()) -> ok.
close({Program, Name}) ->
    _ = spawn(fun() -> py_program:run(Program, [{args, kill(Name)}], ?PROBE_MS) end),
    ok.

%% Containers of BEAMs that were killed. One that runs in a container of its own may talk to the same daemon: its number means
%% nothing here.
sweep(Program, IsOver) ->
    {_, Ids} = py_program:run(Program, [{args, ["ps", "--quiet", "--filter", "label=erl-py"]}], ?PROBE_MS),
    Look = ["inspect", "--format", "{{.Name}} {{index .Config.Labels \"erl-py\"}} {{index .Config.Labels \"erl-py-run\"}}"],
    {_, Said} = py_program:run(Program, [{args, Look ++ string:lexemes(Ids, " \n")}], ?PROBE_MS),
    _ = [
        py_program:run(Program, [{args, kill(string:trim(binary_to_list(Name), leading, "/"))}], ?PROBE_MS)
     || Line <- binary:split(Said, <<"\n">>, [global]), [Name, Owner, Run] <- [string:lexemes(Line, " ")],
        IsOver(binary_to_list(Owner), binary_to_list(Run))
    ],
    ok.

%%% The command line

%% @doc The arguments of `docker'.
-spec arguments(py_config:pool(), box()) -> [unicode:chardata()].
arguments(Config, #{name := Name, owner := Owner, user := User, arguments := Flags} = Box) ->
    #{image := Image, io := Io, cd := Directory, env := Env, python_path := Paths, python := Python} = Config,
    lists:append([
        ["run", "--rm", "--interactive", "--init", "--pull", "never", "--name", Name, "--label", "erl-py=" ++ Owner],
        ["--label", "erl-py-run=" ++ maps:get(run, Box, "")],
        ["--log-driver", "none", "--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev," ++ ?ROOM],
        ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", User, "--hostname", "sandbox"],
        ["--network", network(Config)],
        limits(Config),
        lists:append([volume(Io, "/io", "") || Io =/= undefined]),
        lists:append([volume(Path, filename:absname(Path), ",readonly") || Path <- Paths]),
        lists:append([["--env", "PYTHONPATH=" ++ joined(Paths)] || Paths =/= []]),
        %% The values come from the client's environment: arguments are everybody's to read.
        lists:append([["--env", Variable] || {Variable, Value} <- Env, Value =/= false]),
        ["--workdir", case Directory of undefined -> "/tmp"; _ -> Directory end],
        [Image, case Python of undefined -> "python3"; _ -> Python end, "-m", "erl" | Flags]
    ]).

%% @doc The arguments that end a container.
-spec kill(Name :: string()) -> [string()].
kill(Name) -> ["kill", Name].

network(#{network := none}) -> "none";
network(#{network := host}) -> "host";
network(#{network := Name}) -> Name.

limits(#{max_memory := Bytes, max_cpu_seconds := Seconds, max_processes := Processes}) ->
    %% With as much for memory and swap together there is no swap.
    lists:append([["--memory", Number, "--memory-swap", Number] || Number <- number(Bytes)]) ++
        lists:append([["--ulimit", "cpu=" ++ Number] || Number <- number(Seconds)]) ++
        lists:append([["--pids-limit", Number] || Number <- number(Processes)]) ++
        ["--ulimit", "core=0"].

number(Limit) when is_integer(Limit) -> [integer_to_list(Limit)];
number(infinity) -> [].

volume(Source, Target, How) -> ["--mount", ["type=bind,source=", filename:absname(Source), ",target=", Target, How]].

joined(Paths) -> unicode:characters_to_list(lists:join(":", [filename:absname(Path) || Path <- Paths])).
