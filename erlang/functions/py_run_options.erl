%%% @doc The options of a run: which there are, what each may be, what it is where nothing is said.
%%% @private
-module(py_run_options).

-export([table/0, is_name/1]).

-define(MOST_RETRIES, 1_000).
-define(MOST_NAME_BYTES, 200).
-define(MOST_KEY_BYTES, 1_024).
-define(MOST_ENV, 1_000).
-define(LEAST_MEMORY_BYTES, 1 bsl 20).

-spec table() -> py_options:table().
table() ->
    #{
        pool => {default, atom, "the name of a pool, an atom"},
        environment => {undefined, fun erlang:is_map/1, "a map of what py_env:build/1 takes"},
        project => {default, fun is_name/1, "a name of 1 to 200 bytes, an atom or a binary"},
        function => {undefined, fun is_name/1, "a name of 1 to 200 bytes, an atom or a binary"},
        keywords => {[], fun(Keywords) -> py_term:keywords(Keywords) =/= error end, "keywords: a list of {Name, Value} or a map"},
        key => {undefined, fun is_key/1, "a term of at most 1024 bytes in the external format"},
        retries => {0, fun is_retries/1, "a number of retries, 0 to 1000"},
        backoff => {{1_000, 60_000}, fun is_backoff/1, "milliseconds, or {First, Most}"},
        timeout => {infinity, timeout},
        env => {[], fun is_env/1, "environment variables, [{Name, Value}] of binaries", secret},
        secrets => {[], fun is_secrets/1, "names of files: letters, digits, _ . - and at most 128 of them"},
        limits => {#{}, fun is_limits/1, "#{cpus => Number, memory => Bytes}, at least 1 MiB"},
        volumes => {[], fun(Volumes) -> element(1, py_run_volumes:checked(Volumes)) =:= ok end, "a list of #{name => <<\"data\">>, mount_path => <<\"/data\">>}"},
        service => {undefined, fun is_service/1, "#{options => Map, lasts => Boolean}"}
    }.

%% @doc Whether it may name a project, or a function.
-spec is_name(term()) -> boolean().
is_name(Name) when is_atom(Name) -> is_name(atom_to_binary(Name));
is_name(Name) -> is_binary(Name) andalso Name =/= <<>> andalso byte_size(Name) =< ?MOST_NAME_BYTES andalso is_list(unicode:characters_to_list(Name)).

is_env(Env) -> is_list(Env) andalso length(Env) =< ?MOST_ENV andalso lists:all(fun is_variable/1, Env).

is_variable({Name, Value}) when is_binary(Name), is_binary(Value), Name =/= <<>> -> binary:match(Name, [<<"=">>, <<0>>]) =:= nomatch andalso binary:match(Value, <<0>>) =:= nomatch;
is_variable(_) -> false.

is_secrets(Names) -> is_list(Names) andalso length(Names) =< ?MOST_ENV andalso lists:all(fun py_secrets:is_name/1, Names).

is_limits(Limits) when is_map(Limits) -> lists:all(fun is_limit/1, maps:to_list(Limits));
is_limits(_) -> false.

is_limit({cpus, Cpus}) -> is_number(Cpus) andalso Cpus > 0;
is_limit({memory, Bytes}) -> is_integer(Bytes) andalso Bytes >= ?LEAST_MEMORY_BYTES;
is_limit(_) -> false.

is_service(#{options := Options, lasts := Lasts} = Service) -> map_size(Service) =:= 2 andalso is_map(Options) andalso is_boolean(Lasts);
is_service(_) -> false.

is_key(Key) -> erlang:external_size(Key) =< ?MOST_KEY_BYTES.

is_retries(Retries) -> is_integer(Retries) andalso Retries >= 0 andalso Retries =< ?MOST_RETRIES.

is_backoff({First, Most}) -> py_options:is_natural(First) andalso py_options:is_natural(Most) andalso First =< Most;
is_backoff(First) -> py_options:is_natural(First).
