%%% @doc Messages that a driver sends to processes, and who has so many before him that the driver must wait for him.
%%% @private
-module(py_gateway_casts).

-export([send/2, is_behind/1]).

%% Of a queue, in messages.
-define(LONG_QUEUE, 10_000).

%% @doc Send it. Whom it made wait, if he is a process of this node that has a long queue.
-spec send(pid() | atom(), term()) -> {behind, pid()} | ok.
send(To, Message) ->
    try
        _ = erlang:send(To, Message, [noconnect, nosuspend]),
        Pid = if is_atom(To) -> whereis(To); true -> To end,
        case is_pid(Pid) andalso node(Pid) =:= node() andalso is_behind(Pid) of
            true -> {behind, Pid};
            false -> ok
        end
    catch
        %% A name that nobody has.
        error:badarg -> ok
    end.

%% @doc Whether its queue is long.
-spec is_behind(pid()) -> boolean().
is_behind(Pid) ->
    case process_info(Pid, message_queue_len) of
        {message_queue_len, Length} -> Length > ?LONG_QUEUE;
        undefined -> false
    end.
