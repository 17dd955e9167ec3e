%%% @doc Environments: a Python with packages, built once and kept, that pools and runs have as their own.
%%%
%%% ```
%%% 1> {ok, #{path := Path}} = py_env:build(#{requirements => ["numpy>=1.26"]}).
%%% 2> py:start_pool(ml, #{python => {venv, Path}}).
%%% '''
%%%
%%% An environment is a virtual environment with what was asked for, the application's own Python package, and what that needs. It is known by its
%%% interpreter, its platform and the exact versions in it: who asks for the same has the same. What is kept, and where, stands in
%%% `docs/environments.md'.
-module(py_env).

-export([build/0, build/1, list/0, prune/0, prune/1, pythons/0]).
-export([checked/1, pool/1, is_needed/2]).
-export_type([options/0, env/0]).

-type options() :: #{
    python_version => atom() | unicode:chardata(),
    requirements => [unicode:chardata()],
    instructions => [unicode:chardata()],
    allow_urls => boolean(),
    allow_builds => boolean(),
    offline => boolean(),
    timeout => timeout()
}.
%% `python_version': `<<"3.11">>', `<<"3.11.7">>' or `PYTHON3_11'; where there is none of it here, the lowest that is not older, with a warning. Left out:
%% the interpreter of a pool that names none. `requirements': lines of PEP 508. `instructions': of an image; refused, as images are not built here.
%% `allow_urls': a requirement may name a URL. `allow_builds': packages that have no wheel are built, which runs their code.
%% `offline': nothing is fetched. `timeout': how long a build may take, in milliseconds; half an hour.
-type env() :: #{
    key := binary(),
    path := file:filename_all(),
    python := file:filename_all(),
    python_version := binary(),
    platform := binary(),
    requirements := [binary()],
    packages := [binary()],
    tool := binary(),
    bytes := non_neg_integer(),
    created := Ms :: integer(),
    used := Ms :: integer(),
    warnings => [binary()]
}.
%% `path': its directory, for `python => {venv, Path}'. `python': the interpreter that it was made from. `packages': `<<"name==version">>' of all that is in
%% it. `tool': `<<"uv">>' or `<<"pip">>'. `created', `used': milliseconds since the epoch.

-define(PAUSE_MS, 20).
%% How long Docker may take to say whether its daemon is there.
-define(PROBE_MS, 10_000).
-define(TRIES, 50).

%% @doc Like {@link build/1} of nothing but what each environment has.
-spec build() -> {ok, env()} | {error, {py, py_error:reason()}}.
build() -> build(#{}).

%% @doc Have an environment: look it up, or build it. Who asks for the same at the same time waits for the same build. Errors: `{env, Text}', with the words
%% of uv or pip where they have refused something; `{state_dir, Path, Why}'; `badarg' for options.
-spec build(options()) -> {ok, env()} | {error, {py, py_error:reason()}}.
build(Options) ->
    case checked(Options) of
        {ok, Environment} -> built(Environment);
        {bad_option, Problem} -> py_error:badarg(1, py_options:describe(Problem), {?MODULE, build, [Options]});
        {error, _} = Error -> Error
    end.

built(Environment) ->
    case asked({build, hash(Environment), Environment}) of
        {ok, Env, []} -> {ok, Env};
        {ok, Env, Warnings} ->
            _ = [logger:warning("environments: ~ts", [Warning], #{domain => [py]}) || Warning <- Warnings],
            {ok, Env#{warnings => Warnings}};
        {error, _} = Error -> Error
    end.

hash(Environment) -> py_env_spec:hash(Environment, py_env_pythons:default()).

%% @private
%% @doc What the pool of an environment is called where runs wait.
-spec pool(py_env_spec:environment()) -> binary().
pool(Environment) -> <<"env:", (hash(Environment))/binary>>.

%% @private
%% @doc Whether a function needs an environment, or a pool will do: one that has no requirements runs in the pool where that has the version which the
%% function asks for, or a later one while that very version is not here.
-spec is_needed(options(), py_config:pool_name()) -> boolean().
is_needed(#{requirements := [_ | _]}, _Pool) ->
    true;
is_needed(#{python_version := Version}, Pool) when Version =/= <<>> ->
    case {py_env_spec:check(#{python_version => Version}), pool_version(Pool)} of
        {{ok, #{python_version := Text}}, {3, Minor, _}} -> is_other(py_env_spec:version(Text), Minor);
        {{ok, _}, unknown} -> false;
        %% Its run says why not.
        _ -> true
    end;
is_needed(_Environment, _Pool) ->
    false.

is_other(any, _Minor) -> false;
is_other({Minor, any}, Minor) -> false;
is_other({Asked, _} = Version, Minor) ->
    case py_env_pythons:choose(Version, py_env_pythons:all()) of
        {ok, _, []} -> true;
        _ -> Minor < Asked
    end.

pool_version(Pool) ->
    case lists:keyfind(Pool, 1, py_registry:configs()) of
        {_, #{sandbox := none} = Config} ->
            case py_launcher:find(Config) of
                {ok, _, Path} -> py_env_pythons:version(filename:absname(Path));
                {error, _} -> unknown
            end;
        _ -> unknown
    end.

%% @private
%% @doc What {@link build/1} is asked for, if that can be built here.
-spec checked(term()) -> {ok, py_env_spec:environment()} | {bad_option, py_options:problem()} | {error, {py, py_error:reason()}}.
checked(Options) ->
    case py_env_spec:check(Options) of
        {ok, #{instructions := [_ | _]}} -> {error, {py, {env, no_instructions()}}};
        Checked -> Checked
    end.

no_instructions() ->
    case [Program || Name <- ["docker", "podman"], Program <- [os:find_executable(Name)], Program =/= false] of
        [] -> "instructions are carried out in an image, by Docker or Podman, and there is neither docker nor podman on PATH; without them it can be built here";
        [Program | _] -> no_image(filename:basename(Program), py_program:run(Program, [{args, ["version", "--format", "{{.Server.Version}}"]}], ?PROBE_MS))
    end.

no_image(_Name, {0, _}) ->
    "instructions are carried out in an image, and images are not built here: build one with Docker or Podman, and name it in a pool's options "
    "(sandbox => docker, image => Name); without them it can be built here";
no_image(Name, {_, Said}) ->
    First = hd(string:split(string:trim(unicode:characters_to_list(Said)), "\n")),
    lists:flatten(["instructions are carried out in an image, by Docker or Podman, and ", Name, " has no daemon that answers (", First, "); without them it can be built here"]).

%% A build that was lost with its server is begun again by its successor.
asked(Request) ->
    case py_runs_sup:ensure() of
        ok -> asked(Request, ?TRIES);
        {error, _} = Error -> Error
    end.

asked(_Request, 0) ->
    {error, {py, {env, "the server of environments does not come up; the log says why"}}};
asked(Request, Left) ->
    try
        gen_server:call(py_envs, Request, infinity)
    catch
        exit:_ ->
            receive after ?PAUSE_MS -> ok end,
            case whereis(py_runs_sup) of
                undefined -> {error, {py, not_started}};
                _ -> asked(Request, Left - 1)
            end
    end.

%% @doc The environments that there are.
-spec list() -> [env()] | {error, {py, py_error:reason()}}.
list() ->
    case asked(list) of
        {ok, Envs} -> Envs;
        {error, _} = Error -> Error
    end.

%% @doc Like {@link prune/1} of all.
-spec prune() -> {ok, non_neg_integer()} | {error, {py, py_error:reason()}}.
prune() -> prune(#{}).

%% @doc Delete environments that no pool of this node uses, and that nobody has asked for in the last `unused' milliseconds (0); how many they were.
%% `wheels': what pip has fetched for builds that are offline, too.
-spec prune(#{unused => non_neg_integer(), wheels => boolean()}) -> {ok, non_neg_integer()} | {error, {py, py_error:reason()}}.
prune(Options) ->
    case py_options:check(Options, [#{unused => {0, natural, "milliseconds"}, wheels => [false, true]}]) of
        {ok, Checked} ->
            asked({prune, maps:get(unused, Checked, 0), maps:get(wheels, Checked, false)});
        {error, Problem} ->
            py_error:badarg(1, py_options:describe(Problem), {?MODULE, prune, [Options]})
    end.

%% @doc The interpreters of this machine that environments can be made from, the lowest version first.
-spec pythons() -> [#{path := file:filename_all(), version := binary()}].
pythons() ->
    [#{path => Path, version => py_env_pythons:text(Version)} || #{path := Path, version := Version} <- py_env_pythons:all()].
