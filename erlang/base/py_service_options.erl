%%% @doc The options of a service: which there are, what each may be, what it is where nothing is said. Beside them it may have those of a
%%% pool ({@link py_pool_options}), which are its replicas'.
-module(py_service_options).

-export([check/1, of_pairs/1]).
-export_type([options/0, checked/0]).

-type options() :: #{
    name => atom() | binary(),
    handler := atom() | binary() | string(),
    init_function => atom() | binary() | string(),
    init_parameters => #{atom() | binary() => term()},
    source => binary(),
    log => map(),
    replicas => pos_integer(),
    threads => pos_integer(),
    max_queue => non_neg_integer(),
    timeout => timeout(),
    ip => string() | binary() | inet:ip_address(),
    port => inet:port_number(),
    fronts => pos_integer(),
    hosts => [string() | binary()],
    token_file => file:name_all(),
    tls => #{certfile := file:name_all(), keyfile := file:name_all()},
    max_body => pos_integer(),
    atom() => term()
}.
%% `handler': `module:function'. `name': what it is known by; that of the handler. `init_function': called once in each replica before it serves,
%% with a context and `init_parameters'. `replicas': Pythons that run it, 2; `threads': requests that each of them runs at a time, 1.
%% `max_queue': requests that may wait beside those, 64. `timeout': how long one may take, in milliseconds, 30,000. `ip', `port': where it listens; 127.0.0.1,
%% and a port that the system chooses. `fronts': processes that speak HTTP, 1. `hosts': names in `Host' beside those of the address. `token_file', `tls':
%% what an `ip' that is none of this machine's own needs. `max_body': bytes of a request's body, 10 MiB; 63 MiB at the most.
-type checked() :: {Service :: map(), Pool :: map()}.
%% The options of the service, complete, and those of the pool.

-define(LOOPBACK, {127, 0, 0, 1}).
%% With its head it is one packet of the gateway's.
-define(MOST_BODY, 66_060_288).
-define(OWN_POOL, [size, threads, max_queue, call_timeout, on_start, scheduler]).

%% @doc Options of a service and of its pool, apart. Those of the pool are not checked.
-spec check(term()) -> {ok, checked()} | {error, py_options:problem()}.
check(Given) ->
    Options = py_options:from_list(Given),
    Table = table(),
    case is_map(Options) andalso maps:is_key(handler, Options) of
        true ->
            Own = maps:with(maps:keys(Table), Options),
            Others = maps:without(maps:keys(Table), Options),
            case {py_options:check(Own, [Table]), maps:keys(Others) -- pool_options()} of
                {{ok, _}, [Key | _]} -> {error, {unknown_option, Key, lists:sort(maps:keys(Table) ++ pool_options())}};
                {{ok, Checked}, []} -> reachable(maps:merge(py_options:defaults(Table), Checked), Others);
                {Error, _} -> Error
            end;
        false when is_map(Options) ->
            {error, {bad_option, handler, undefined, "module:function, a binary or a string"}};
        false ->
            {error, {no_map, Options}}
    end.

%% @doc Options as Python says them, in which maps are pairs.
%% @private
-spec of_pairs([{atom(), term()}]) -> map().
of_pairs(Pairs) -> maps:map(fun(tls, [_ | _] = Files) -> maps:from_list(Files); (_, Value) -> Value end, maps:from_list(Pairs)).

pool_options() -> maps:keys(py_pool_options:table()) -- ?OWN_POOL.

table() ->
    #{
        name => {undefined, fun is_name/1, "a name of 1 to 200 bytes, an atom or a binary"},
        handler => {undefined, fun is_handler/1, "module:function, a binary or a string"},
        init_function => {undefined, fun is_text/1, "the name of a function of the handler's module, or module:function"},
        init_parameters => {#{}, fun is_parameters/1, "a map of names to values", secret},
        source => {undefined, fun is_binary/1, "a handler of the store, as JSON"},
        log => {undefined, fun is_map/1, "where replicas write what they print, and what is hidden of it"},
        replicas => {2, between(1, 1_024), "a number of replicas, 1 to 1024"},
        threads => {1, between(1, 1_024), "a number of threads, 1 to 1024"},
        max_queue => {64, natural, "a number of requests, 0 or more"},
        timeout => {30_000, timeout},
        ip => {?LOOPBACK, fun(Value) -> address(Value) =/= error end, "an address of IPv4 or IPv6"},
        port => {0, between(0, 65_535), "a port, 0 to 65535"},
        fronts => {1, between(1, 64), "a number of fronts, 1 to 64"},
        hosts => {[], fun(Value) -> is_list(Value) andalso lists:all(fun is_text/1, Value) end, "a list of names"},
        token_file => {undefined, fun is_text/1, "the path of a file"},
        tls => {undefined, fun is_tls/1, "a map with certfile and keyfile"},
        max_body => {10_485_760, between(1, ?MOST_BODY), "bytes, 1 to 66060288 (63 MiB)"}
    }.

between(Least, Most) -> fun(Value) -> is_integer(Value) andalso Value >= Least andalso Value =< Most end.

is_name(Name) when is_atom(Name), Name =/= undefined -> is_name(atom_to_binary(Name));
is_name(Name) -> is_binary(Name) andalso Name =/= <<>> andalso byte_size(Name) =< 200 andalso is_list(unicode:characters_to_list(Name)).

is_text(Value) when is_atom(Value), Value =/= undefined -> true;
is_text(Value) when is_binary(Value) -> Value =/= <<>> andalso is_list(unicode:characters_to_list(Value));
is_text(Value) -> Value =/= [] andalso io_lib:printable_unicode_list(Value).

is_handler(Value) ->
    is_text(Value) andalso
        case string:split(text(Value), ":") of
            [[_ | _], [_ | _]] -> true;
            _ -> false
        end.

is_parameters(Value) -> is_map(Value) andalso lists:all(fun(Key) -> is_atom(Key) orelse is_text(Key) end, maps:keys(Value)).

is_tls(#{certfile := Certificate, keyfile := Key} = Value) -> map_size(Value) =:= 2 andalso is_text(Certificate) andalso is_text(Key);
is_tls(_) -> false.

text(Value) when is_atom(Value) -> atom_to_list(Value);
text(Value) -> unicode:characters_to_list(Value).

address(Value) when is_tuple(Value) ->
    case inet:ntoa(Value) of
        {error, _} -> error;
        _ -> Value
    end;
address(Value) ->
    case is_text(Value) andalso not is_atom(Value) andalso inet:parse_strict_address(text(Value)) of
        {ok, Address} -> Address;
        _ -> error
    end.

%% What others can reach asks who they are, or hides what is said from those in between.
reachable(#{ip := Given, token_file := Token, tls := Tls, handler := Handler, name := Name} = Service, Pool) ->
    Ip = address(Given),
    Named = unicode:characters_to_binary(text(if Name =:= undefined -> Handler; true -> Name end)),
    Texts = maps:map(
        fun
            (Key, Value) when Value =/= undefined, Key =:= handler orelse Key =:= init_function orelse Key =:= token_file ->
                unicode:characters_to_binary(text(Value));
            (hosts, Hosts) -> [unicode:characters_to_binary(text(Host)) || Host <- Hosts];
            (tls, #{} = Files) -> maps:map(fun(_, File) -> unicode:characters_to_binary(text(File)) end, Files);
            (_, Value) -> Value
        end,
        Service
    ),
    case is_own(Ip) orelse Token =/= undefined orelse Tls =/= undefined of
        true -> {ok, {Texts#{ip := Ip, name := Named}, Pool}};
        false -> {error, {bad_option, ip, Given, "an address of this machine alone (127.0.0.1, ::1) where there is neither token_file nor tls"}}
    end.

is_own({127, _, _, _}) -> true;
is_own({0, 0, 0, 0, 0, 0, 0, 1}) -> true;
is_own(_) -> false.
