%%% @doc The options of a gateway, a socket at which Python programs connect: which there are, what each may be, what it is where nothing
%%% is said.
-module(py_gateway_options).

-export([check/1, configured/0, is_path/1]).
-export_type([options/0, role/0]).

-type role() :: driver | front | observer.
%% What who connects may do: all; requests to named services; look.
-type options() :: #{path => auto | file:name_all(), role => role(), max_connections => pos_integer()}.
%% `path' is that of the socket, `auto' the one that `erl.connect()' looks for: `docs/architecture.md' has its place. Default: `auto',
%% `driver', 64.

%% @doc Options, checked, with the defaults filled in.
-spec check(term()) -> {ok, options()} | {error, py_options:problem()}.
check(Options) ->
    Table = table(),
    case py_options:check(py_options:from_list(Options), [Table]) of
        {ok, Checked} -> {ok, maps:merge(py_options:defaults(Table), Checked)};
        Error -> Error
    end.

table() ->
    #{
        path => {auto, fun is_path/1, "auto or the path of a socket"},
        role => [driver, front, observer],
        max_connections => {64, positive, "a number of connections, at least 1"}
    }.

%% @doc Whether it can be the path of a socket.
-spec is_path(term()) -> boolean().
is_path(auto) -> true;
is_path(Path) when is_binary(Path) -> Path =/= <<>> andalso binary:match(Path, <<0>>) =:= nomatch;
is_path(Path) -> Path =/= [] andalso io_lib:printable_unicode_list(Path).

%% @doc The gateways of the application's environment, `gateway': a map of options, or a list of such maps. Checked.
-spec configured() -> {ok, [options()]} | {error, {bad_config, gateway, py_options:problem()}}.
configured() ->
    case application:get_env(py, gateway, []) of
        Options when is_map(Options) -> each([Options], []);
        List when length(List) >= 0 -> each(List, []);
        Other -> {error, {bad_config, gateway, {bad_option, gateway, Other, "a map of options, or a list of such maps"}}}
    end.

each([Options | Rest], Acc) ->
    case check(Options) of
        {ok, Checked} -> each(Rest, [Checked | Acc]);
        {error, Problem} -> {error, {bad_config, gateway, Problem}}
    end;
each([], Acc) ->
    {ok, lists:reverse(Acc)}.
