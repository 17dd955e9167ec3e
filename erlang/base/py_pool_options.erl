%%% @doc The options of one pool: which there are, what each may be, what it is when nothing is said, and what a sandbox changes.
-module(py_pool_options).

-export([check/1, table/0, only_boxed/0, sandbox_defaults/0, without_secrets/1, max_workers/0]).
-export_type([options/0, checked/0, scheduler/0, python/0, mfargs/0, sandbox_kind/0]).

-type scheduler() :: least_busy | round_robin | random | first | youngest | oldest | {module(), Function :: atom()}.
-type python() :: undefined | file:name_all() | {venv, file:name_all()}.
%% A path, a name on `PATH', or the directory of a virtual environment.
-type sandbox_kind() :: bwrap | docker.
-type text() :: string() | unicode:unicode_binary().
-type mfargs() :: {py_term:name(), py_term:name(), [term()]}.
-type options() :: #{
    size => pos_integer(),
    python => python(),
    python_path => [file:name_all()],
    env => [{text(), text() | false}],
    cd => undefined | file:name_all(),
    import => [py_term:name() | string()],
    preload => [py_term:name() | string()],
    on_start => undefined | mfargs(),
    scheduler => scheduler(),
    call_timeout => timeout(),
    start_timeout => pos_integer(),
    kill_after => non_neg_integer(),
    print_timeout => pos_integer(),
    drain_timeout => timeout(),
    max_queue => non_neg_integer() | infinity,
    max_calls => pos_integer() | infinity,
    max_memory => pos_integer() | infinity,
    recycle => auto | never,
    threads => pos_integer(),
    coroutines => pos_integer() | infinity,
    event_loop => asyncio | uvloop,
    callbacks => all | none | [{module(), Function :: atom()}],
    restart => #{max => non_neg_integer(), within => pos_integer(), delay => pos_integer(), max_delay => pos_integer()},
    encoders => [{py_term:name(), {py_term:name(), py_term:name()}}],
    decoders => [{py_term:name(), {py_term:name(), py_term:name()}}],
    strings => py_mapping:strings(),
    dicts => py_mapping:dicts(),
    none => py_mapping:no_value(),
    haystack => boolean(),
    frames => py_mapping:frames(),
    matrices => boolean(),
    arrays => py_mapping:arrays(),
    pickle => signed | any,
    sandbox => none | sandbox_kind(),
    io => undefined | file:name_all(),
    network => none | host | string(),
    control_chars => escape | keep,
    max_cpu_seconds => pos_integer() | infinity,
    max_processes => pos_integer() | infinity,
    image => string(),
    show_arguments => undefined | py_call_options:show_arguments(),
    style => undefined | erlang | elixir,
    log_level => debug | info | warning | error | critical
}.
%% What a pool may be given. Times are milliseconds.
-type checked() :: #{atom() => term()}.
%% Checked and complete: every key of {@link options()}; `owner', a process, where the pool is a child of somebody else's; `numbered => true'
%% where `on_start' is given the worker's number in its pool, from 1 on, behind its arguments.

-define(MAX_WORKERS, 1024).
-define(MAX_THREADS, 1024).
-define(LEAST_MEMORY, 16_777_216).
-define(LEAST_PROCESSES, 8).

%% @doc The most workers a pool can have.
-spec max_workers() -> pos_integer().
max_workers() -> ?MAX_WORKERS.

%% @doc The options of one pool, checked, with the defaults filled in.
-spec check(options() | [{atom(), term()}]) -> {ok, checked()} | {error, py_options:problem()}.
check(Options) ->
    Table = table(),
    case py_options:check(py_options:from_list(Options), [Table]) of
        {ok, Given} ->
            Defaults = py_options:defaults(Table),
            Checked = maps:merge(of_style(Given), Given),
            case boxed(Checked, with_restart(maps:merge(Defaults, Checked), Defaults)) of
                {ok, Pool} -> {ok, hidden(Pool)};
                Error -> Error
            end;
        Error ->
            Error
    end.

%% What the style of the module `Py' in Elixir means for values, where the pool does not say it.
of_style(#{style := elixir}) -> #{strings => binary, dicts => map, none => nil};
of_style(#{}) -> #{}.

%% What nobody is to read in a report, see `py_secret'.
hidden(#{env := Env, on_start := OnStart} = Pool) ->
    Pool#{
        env :=
            case env(Env) of
                [] -> [];
                Some -> py_secret:hide(Some)
            end,
        on_start :=
            case OnStart of
                {Module, Function, [_ | _] = Args} -> {Module, Function, py_secret:hide(Args)};
                _ -> OnStart
            end
    }.

%% @doc Options of a pool or a session as a stack may show them.
-spec without_secrets(term()) -> term().
without_secrets(Options) when is_map(Options) ->
    maps:map(fun(Key, Value) -> shown(Key, Value) end, Options);
without_secrets([{Key, Value} | Rest]) -> [{Key, shown(Key, Value)} | without_secrets(Rest)];
without_secrets(Other) -> Other.

shown(Key, Value) ->
    case own() of
        #{Key := {_, _, _, secret}} -> '...';
        #{} -> Value
    end.

with_restart(#{restart := Restart} = Pool, #{restart := Default}) ->
    Pool#{restart := maps:merge(Default, Restart)}.

%% What a sandbox changes: it is bound where nothing is said, and calls nothing of Erlang's that is not listed.
boxed(Given, #{sandbox := none} = Pool) ->
    case [Option || Option <- only_boxed(), is_map_key(Option, Given)] of
        [] -> {ok, Pool};
        [Option | _] -> {error, {bad_option, Option, maps:get(Option, Given), "left out where there is no sandbox"}}
    end;
boxed(#{callbacks := all}, _Pool) ->
    {error, {bad_option, callbacks, all, "none or a list of {Module, Function} in a sandbox"}};
boxed(#{arrays := shared}, _Pool) ->
    {error, {bad_option, arrays, shared, "opaque or value in a sandbox, which has no part in shared memory"}};
boxed(#{preload := [_ | _] = Modules}, _Pool) ->
    {error, {bad_option, preload, Modules, "left out in a sandbox, whose Python is forked from nothing outside; import does there"}};
boxed(Given, #{sandbox := Kind} = Pool) ->
    case maps:merge(maps:merge(Pool, sandbox_defaults()), maps:with(maps:keys(sandbox_defaults()), Given)) of
        #{network := Network} when Kind =:= bwrap, Network =/= none, Network =/= host ->
            {error, {bad_option, network, Network, "none or host with bwrap"}};
        Boxed ->
            {ok, Boxed}
    end.

%% @doc The options that are about a box.
-spec only_boxed() -> [atom()].
only_boxed() -> maps:keys(sandbox_defaults()) -- [max_memory, callbacks].

%% @doc What is said where a pool with a sandbox does not say it.
-spec sandbox_defaults() -> options().
sandbox_defaults() ->
    #{
        io => undefined,
        network => none,
        control_chars => escape,
        max_memory => 1_073_741_824,
        max_cpu_seconds => infinity,
        max_processes => 64,
        callbacks => none,
        image => "erl-py-sandbox"
    }.

%% @doc All options of a pool, for {@link py_options:check/2}.
-spec table() -> py_options:table().
table() ->
    maps:merge(own(), py_mapping:of_pools()).

own() ->
    #{
        size => {erlang:system_info(schedulers_online), fun is_size/1, "an integer from 1 to 1024"},
        python => {undefined, fun is_python/1, "a path, a name on PATH or {venv, Directory}"},
        python_path => {[], fun is_paths/1, "a list of directories"},
        env => {[], fun is_env/1, "a list of {Name, Value} or {Name, false}, each a string or a binary", secret},
        cd => {undefined, fun is_path/1, "a directory"},
        import => {[], fun is_modules/1, "a list of modules: dotted names as atoms, binaries or strings"},
        preload => {[], fun is_modules/1, "a list of modules: dotted names as atoms, binaries or strings"},
        on_start => {undefined, fun is_mfargs/1, "{Module, Function, Args}", secret},
        scheduler => {least_busy, fun is_scheduler/1, lists:join(" | ", schedulers() ++ ["{Module, Function}"])},
        call_timeout => {infinity, timeout},
        start_timeout => {15_000, positive, "milliseconds, a positive integer"},
        kill_after => {1_000, natural, "milliseconds, a non-negative integer"},
        print_timeout => {5_000, positive, "milliseconds, a positive integer"},
        drain_timeout => {5_000, timeout},
        max_queue => {infinity, timeout, "a number of calls, or infinity"},
        max_calls => {infinity, fun is_limit/1, "a positive number of calls, or infinity"},
        max_memory => {infinity, fun is_bytes/1, "bytes, at least 16777216 (16 MiB), or infinity"},
        recycle => [auto, never],
        threads => {1, fun is_threads/1, "a number of threads, 1 to 1024"},
        coroutines => {infinity, fun is_limit/1, "a positive number of coroutines, or infinity"},
        event_loop => [asyncio, uvloop],
        callbacks => {all, fun is_callbacks/1, "all, none or a list of {Module, Function}"},
        restart => {restart_default(), fun is_restart/1, "a map with max, within, delay and max_delay"},
        encoders => {[], fun is_registrations/1, "a list of {'module.Class', {Module, Function}}"},
        decoders => {[], fun is_registrations/1, "a list of {Tag, {Module, Function}}"},
        pickle => [signed, any],
        sandbox => [none, bwrap, docker],
        io => {undefined, fun is_path/1, "a directory"},
        control_chars => [escape, keep],
        network => {none, fun is_network/1, "none, host or the name of a network of Docker's"},
        max_cpu_seconds => {infinity, fun is_limit/1, "seconds, a positive integer, or infinity"},
        max_processes => {infinity, fun is_processes/1, "processes and threads, at least 8, or infinity"},
        image => {"", fun is_word/1, "the name of an image, a string"},
        show_arguments => [undefined, cut, none, all],
        style => [undefined, erlang, elixir],
        log_level => {warning, [debug, info, warning, error, critical], "debug | info | warning | error | critical"}
    }.

%% Five deaths within ten seconds are replaced at once or nearly so; then the delay doubles up to its maximum.
restart_default() -> #{max => 5, within => 10_000, delay => 50, max_delay => 30_000}.

%%% Values

schedulers() -> ["least_busy", "round_robin", "random", "first", "youngest", "oldest"].

is_scheduler({Module, Function}) -> is_atom(Module) andalso is_atom(Function);
is_scheduler(Value) -> is_atom(Value) andalso lists:member(atom_to_list(Value), schedulers()).

is_limit(Value) -> Value =:= infinity orelse py_options:is_positive(Value).

%% Less is less than an interpreter that has loaded nothing needs.
is_bytes(Value) -> Value =:= infinity orelse (is_integer(Value) andalso Value >= ?LEAST_MEMORY).

is_size(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< ?MAX_WORKERS.

is_threads(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< ?MAX_THREADS.

is_path(Value) -> is_binary(Value) orelse io_lib:printable_unicode_list(Value) orelse Value =:= undefined.

%% An interpreter with an event loop has four, and what made its box one.
is_processes(Value) -> Value =:= infinity orelse (py_options:is_natural(Value) andalso Value >= ?LEAST_PROCESSES).

is_network(Value) -> Value =:= none orelse Value =:= host orelse is_word(Value).

%% What can't be taken for an option of a command.
is_word(Value) ->
    is_list(Value) andalso re:run(Value, "^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$", [{capture, none}, dollar_endonly]) =:= match.

is_paths(Value) -> is_list(Value) andalso lists:all(fun(Path) -> Path =/= undefined andalso is_path(Path) end, Value).

is_python({venv, Directory}) -> Directory =/= undefined andalso is_path(Directory);
is_python(Value) -> Value =/= [] andalso is_path(Value).

is_env(Value) ->
    is_proper(Value) andalso
        lists:all(
            fun
                ({Name, false}) -> is_text(Name);
                ({Name, Text}) -> is_text(Name) andalso is_text(Text);
                (_) -> false
            end,
            Value
        ).

%% Elixir's strings are binaries.
is_text(Value) when is_binary(Value) -> is_list(unicode:characters_to_list(Value));
is_text(Value) -> io_lib:printable_unicode_list(Value).

%% As `open_port' wants it.
env(Env) -> [{string(Name), string(Text)} || {Name, Text} <- Env].

string(Text) when is_binary(Text) -> unicode:characters_to_list(Text);
string(Text) -> Text.

is_modules(Value) -> is_proper(Value) andalso lists:all(fun py_term:is_module/1, Value).

is_mfargs({Module, Function, Args}) ->
    py_term:is_name(Module) andalso py_term:is_name(Function) andalso is_proper(Args);
is_mfargs(Value) ->
    Value =:= undefined.

is_proper(List) when length(List) >= 0 -> true;
is_proper(_) -> false.

is_restart(Value) when is_map(Value) ->
    lists:all(
        fun({Key, Number}) -> is_map_key(Key, restart_default()) andalso py_options:is_natural(Number) end,
        maps:to_list(Value)
    );
is_restart(_) ->
    false.

is_callbacks(Value) when is_list(Value) ->
    lists:all(
        fun
            ({Module, Function}) -> is_atom(Module) andalso is_atom(Function);
            (_) -> false
        end,
        Value
    );
is_callbacks(Value) ->
    Value =:= all orelse Value =:= none.

is_registrations(Value) ->
    is_list(Value) andalso
        lists:all(
            fun
                ({Key, {Module, Function}}) -> lists:all(fun py_term:is_name/1, [Key, Module, Function]);
                (_) -> false
            end,
            Value
        ).
