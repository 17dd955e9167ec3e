%%% @doc A request of an Erlang process to a service's replicas, as a front's would be. `python/erl/serving/exchange.py' has the bytes.
%%% @private
-module(py_service_request).

-export([invoke/2]).

%% @doc The response to a request. The calling process waits, and no message of its own is touched.
-spec invoke({ok, py_gateway_service:service()} | error, py_service:request()) ->
    {ok, py_service:response()} | {error, {py, py_error:reason()} | py_error:python_error()}.
invoke(error, _Request) ->
    {error, {py, not_started}};
invoke({ok, #{pool := Pool, timeout := Default, most_open := Most}}, Request) ->
    Route = #{pool => Pool, timeout => maps:get(timeout, Request, Default), most_open => Most},
    Data = encoded(Request),
    {Asker, Ref} = {self(), make_ref()},
    {_, Monitor} = spawn_monitor(fun() -> Asker ! {Ref, handled(Data, Route)} end),
    receive
        {Ref, Answer} -> demonitor(Monitor, [flush]), Answer;
        {'DOWN', Monitor, process, _, Reason} -> {error, {py, {worker_down, Reason}}}
    end.

encoded(Request) ->
    Body = iolist_to_binary(maps:get(body, Request, <<>>)),
    Method = maps:get(method, Request, if Body =:= <<>> -> <<"GET">>; true -> <<"POST">> end),
    Headers = maps:get(headers, Request, []),
    Pairs = if is_map(Headers) -> maps:to_list(Headers); true -> Headers end,
    Named = [{string:lowercase(text(Name)), text(Value)} || {Name, Value} <- Pairs],
    Id = binary:encode_hex(crypto:strong_rand_bytes(8)),
    First = [string:lowercase(Id), text(Method), text(maps:get(path, Request, <<"/">>)), <<"http">>],
    Lines = First ++ lists:append([[Name, Value] || {Name, Value} <- Named]),
    Head = iolist_to_binary(lists:join($\n, [[Char || <<Char>> <= Line, Char =/= $\n] || Line <- Lines])),
    [<<(byte_size(Head)):32>>, Head, Body].

text(Text) when is_atom(Text) -> atom_to_binary(Text);
text(Text) -> iolist_to_binary(Text).

handled(Data, Route) ->
    case asked(handle, Data, Route) of
        {ok, Answer, _} when is_binary(Answer) -> {ok, response(Answer, [])};
        {ok, {First, Number}, Worker} -> pieces(First, <<Number:64>>, (maps:without([most_open], Route))#{worker => Worker}, []);
        {error, _} = Error -> Error
    end.

pieces(First, Number, Route, Acc) ->
    case asked(more, Number, Route) of
        {ok, <<1, Piece/binary>>, _} -> pieces(First, Number, Route, [Piece | Acc]);
        {ok, <<0>>, _} -> {ok, response(First, lists:reverse(Acc))};
        {ok, _, _} -> {error, {py, {protocol, unreadable_answer}}};
        {error, _} = Error -> Error
    end.

response(<<Status:16, Size:32, Head:Size/binary, Body/binary>>, More) ->
    Lines = [Line || Size > 0, Line <- binary:split(Head, <<"\n">>, [global])],
    #{status => Status, headers => pairs(Lines), body => iolist_to_binary([Body | More])}.

pairs([Name, Value | Rest]) -> [{Name, Value} | pairs(Rest)];
pairs(_) -> [].

asked(Function, Data, Route) ->
    case py_dispatcher:send(request, py_gateway_service:body(Function, Data), Route, self(), py_dispatcher:new()) of
        {ok, Tasks} -> awaited(Tasks);
        {error, _} = Error -> Error
    end.

awaited(Tasks) ->
    receive
        Message ->
            case py_dispatcher:message(Message, Tasks) of
                {answer, request, {frame, Frame, _Trust, Origin}, _} -> read(Frame, Origin);
                {answer, request, {error, _} = Error, _} -> Error;
                {wait, Next} -> awaited(Next);
                _ -> awaited(Tasks)
            end
    end.

read(Frame, {Worker, _}) ->
    try binary_to_term(Frame, [safe]) of
        {r, _, Answer} -> {ok, Answer, Worker};
        {e, _, Error} -> {error, Error};
        _ -> {error, {py, {protocol, unreadable_answer}}}
    catch
        error:badarg -> {error, {py, {protocol, unreadable_answer}}}
    end;
read(_Frame, elsewhere) ->
    {error, {py, {protocol, unreadable_answer}}}.
