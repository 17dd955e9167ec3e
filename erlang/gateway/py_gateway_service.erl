%%% @doc What a front may have done: calls of three functions, in the replicas of one service, with bytes. Pure.
%%%
%%% The service is that of the socket. A front names no pool, no worker and no function of anybody else's; what it may say stands in
%%% "The gateway" of docs/architecture.md.
%%% @private
-module(py_gateway_service).

-export([submit/6, answered/3, body/2]).
-export_type([service/0, streams/0]).

-type service() :: #{name := binary(), pool := py_config:pool_name(), timeout := timeout(), most_open := pos_integer()}.
%% `timeout': of a request, and of each piece of a streamed answer. `most_open': how many requests may run and wait.

-type streams() :: #{py_gateway_wire:id() => Worker :: pid()}.
%% Where the rest of an answer comes from that comes in pieces, by the number of its request.

-define(MODULE_NAME, <<"erl.serving.replica">>).
-define(SMALL_ATOM_UTF8, 119).
-define(MOST_STREAMS, 2_048).

%% @doc Send a front's call to the replicas; an error is what it is told.
-spec submit(py_gateway_wire:id(), Given :: map(), Body :: binary(), none | service(), streams(), py_gateway_tasks:tasks()) ->
    {ok, py_gateway_tasks:tasks()} | {error, term()}.
submit(_Id, Given, _Body, none, _Streams, _Tasks) ->
    {error, {unknown_service, maps:get(service, Given, undefined)}};
submit(Id, Given, Body, Service, Streams, Tasks) ->
    case route(Given, Body, Service, Streams) of
        {ok, Route} -> py_gateway_tasks:send(Id, Route, Body, Tasks);
        {error, _} = Error -> Error
    end.

route(Given, Body, #{name := Name, pool := Pool, timeout := Most, most_open := Open}, Streams) ->
    Timeout = least(maps:get(timeout, Given, infinity), Most),
    case {function(Body), Given} of
        {error, _} ->
            {error, {link, "a front has a service's replicas called with one binary, and nothing else"}};
        {_, #{service := Other}} when Other =/= Name ->
            {error, {unknown_service, Other}};
        {handle, #{stream := _}} ->
            {error, {link, "a request goes to any replica"}};
        {handle, _} ->
            {ok, #{pool => Pool, timeout => Timeout, most_open => Open}};
        {_, #{stream := Id}} when is_map_key(Id, Streams) ->
            {ok, #{pool => Pool, timeout => Timeout, worker => map_get(Id, Streams)}};
        {_, _} ->
            {error, {link, "there is no such stream"}}
    end.

least(Timeout, infinity) -> if is_integer(Timeout), Timeout >= 0 -> Timeout; true -> infinity end;
least(Timeout, Most) when is_integer(Timeout), Timeout >= 0 -> min(Timeout, Most);
least(_, Most) -> Most.

function(Body) ->
    case py_gateway_wire:atom(Body) of
        {?MODULE_NAME, Rest} -> called(py_gateway_wire:atom(Rest));
        _ -> error
    end.

called({Function, <<108, 1:32, 109, Size:32, _:Size/binary, 106>>}) -> kind(Function);
called(_) -> error.

kind(<<"handle">>) -> handle;
kind(<<"more">>) -> piece;
kind(<<"close">>) -> piece;
kind(_) -> error.

%% @doc The body of such a call.
-spec body(handle | more | close, iodata()) -> py_wire:body().
body(Function, Data) ->
    Bytes = iolist_to_binary(Data),
    Names = << <<?SMALL_ATOM_UTF8, (byte_size(Name)), Name/binary>> || Name <- [?MODULE_NAME, atom_to_binary(Function)] >>,
    [<<Names/binary, 108, 1:32, 109, (byte_size(Bytes)):32>>, Bytes, <<106>>].

%% @doc The streams after an answer: one that is a pair begins a stream.
-spec answered(py_gateway_wire:id(), py_pending:answer(), streams()) -> streams().
answered(Id, {frame, Frame, _Trust, {Worker, _}}, Streams) ->
    case is_stream(Frame) andalso map_size(Streams) < ?MOST_STREAMS of
        true -> Streams#{Id => Worker};
        false -> Streams
    end;
answered(_Id, _Answer, Streams) ->
    Streams.

is_stream(<<131, 104, 3, 119, 1, $r, 97, _, 104, 2, _/binary>>) -> true;
is_stream(<<131, 104, 3, 119, 1, $r, 98, _:32, 104, 2, _/binary>>) -> true;
is_stream(<<131, 104, 3, 100, 1:16, $r, 97, _, 104, 2, _/binary>>) -> true;
is_stream(<<131, 104, 3, 100, 1:16, $r, 98, _:32, 104, 2, _/binary>>) -> true;
is_stream(_) -> false.
