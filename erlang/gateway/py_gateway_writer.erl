%%% @doc Writes a connection's frames, so that the connection itself waits for nobody.
%%%
%%% ```
%%% > {write, Frames, Bytes}   < {wrote, Writer, Bytes} when the system has taken them
%%% > close                    what stands before it is written, then the process ends
%%% '''
%%% @private
-module(py_gateway_writer).

-export([start_link/1, write/3, close/1]).

%% @doc A writer for the calling process, with which it ends.
-spec start_link(gen_tcp:socket()) -> pid().
start_link(Socket) ->
    Connection = self(),
    spawn_link(fun() ->
        process_flag(message_queue_data, off_heap),
        loop(Socket, Connection)
    end).

-spec write(pid(), iodata(), non_neg_integer()) -> ok.
write(Writer, Frames, Bytes) ->
    Writer ! {write, Frames, Bytes},
    ok.

-spec close(pid()) -> ok.
close(Writer) ->
    Writer ! close,
    ok.

loop(Socket, Connection) ->
    receive
        {write, Frames, Bytes} ->
            case gen_tcp:send(Socket, Frames) of
                ok ->
                    Connection ! {wrote, self(), Bytes},
                    loop(Socket, Connection);
                %% The connection is told by its socket, too.
                {error, _} ->
                    ok
            end;
        close ->
            _ = gen_tcp:shutdown(Socket, write),
            ok
    end.
