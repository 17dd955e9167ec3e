%%% @doc The port of a service, which is the service's as long as that lives, whether a front listens there or not.
%%%
%%% The fronts share it (`SO_REUSEPORT', socket(7)), each with a socket of its own. One more socket is bound there and never listens: it
%%% keeps the port when the last front has died. Since sockets that share a port ask nobody, whether somebody else has it is
%%% looked for before, by a socket that does not share.
%%% @private
-module(py_service_port).

-export([free/1, hold/2, release/1]).


%% @doc A port of this address that nobody has: the one that is asked for, or any where that is 0.
-spec free(#{ip := inet:ip_address(), port := inet:port_number(), _ => _}) -> {ok, inet:port_number()} | {error, string()}.
free(#{ip := Ip, port := Port}) ->
    case gen_tcp:listen(Port, [{ip, Ip}, {reuseaddr, true}]) of
        {ok, Socket} ->
            {ok, Found} = inet:port(Socket),
            gen_tcp:close(Socket),
            {ok, Found};
        {error, Reason} ->
            {error, lists:flatten(io_lib:format("it can't listen at ~ts, port ~w: ~ts", [inet:ntoa(Ip), Port, inet:format_error(Reason)]))}
    end.

%% @doc Keep it, as long as the calling process lives.
-spec hold(inet:ip_address(), inet:port_number()) -> {ok, socket:socket()} | {error, string()}.
hold(Ip, Port) ->
    Domain = if tuple_size(Ip) =:= 4 -> inet; true -> inet6 end,
    case socket:open(Domain, stream, tcp) of
        {ok, Socket} ->
            _ = socket:setopt(Socket, {socket, reuseaddr}, true),
            _ = socket:setopt(Socket, {socket, reuseport}, true),
            case socket:bind(Socket, #{family => Domain, addr => Ip, port => Port}) of
                ok -> {ok, Socket};
                {error, Reason} -> _ = socket:close(Socket), {error, lists:flatten(io_lib:format("port ~w: ~tp", [Port, Reason]))}
            end;
        {error, Reason} ->
            {error, lists:flatten(io_lib:format("no socket: ~tp", [Reason]))}
    end.

-spec release(socket:socket()) -> ok.
release(Socket) ->
    _ = socket:close(Socket),
    ok.
