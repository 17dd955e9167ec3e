%%% @doc The command that runs an interpreter in a container of Docker's (docker-run(1)). Pure.
%%%
%%% The protocol goes over the container's standard input and output. What bounds the box is Docker's: cgroups for memory and
%%% processes, its own namespaces for the rest. The image brings the interpreter; `docker/Dockerfile' makes one.
-module(py_sandbox_docker).

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

%% Room in memory at /tmp.
-define(ROOM, "size=268435456").

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
