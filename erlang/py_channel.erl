%%% @doc Frames over a stream port: many in one write, many out of one read.
%%%
%%% The port is opened as a stream and the frames' lengths are written and read here. So all that a worker has to say
%%% while its mailbox is not empty goes out in one system call, and Python wakes up once for it; a port in
%%% `{packet, 4}' makes a system call, and mostly a wake-up, of every frame.
-module(py_channel).

-export([new/2, write/2, is_pending/1, flush/1, data/2]).
-export_type([channel/0]).

-record(channel, {
    port :: port(),
    %% Frames that are still to be written, newest first.
    pending = [] :: [iodata()],
    count = 0 :: non_neg_integer(),
    most_bytes :: pos_integer() | infinity,
    input = py_wire:input() :: py_wire:input()
}).
-opaque channel() :: #channel{}.

%% So many frames are worth a system call, whatever else is in the mailbox.
-define(MOST_PENDING, 64).

%% @doc A channel whose frames have at most so many bytes on their way here.
-spec new(port(), MostBytes :: pos_integer() | infinity) -> channel().
new(Port, MostBytes) -> #channel{port = Port, most_bytes = MostBytes}.

%% @doc Add a frame to what {@link flush/1} writes.
-spec write(iodata(), channel()) -> channel().
write(Frame, #channel{pending = Pending, count = Count} = Channel) ->
    Next = Channel#channel{pending = [py_wire:frame(Frame) | Pending], count = Count + 1},
    case Count >= ?MOST_PENDING of
        true -> flush(Next);
        false -> Next
    end.

-spec is_pending(channel()) -> boolean().
is_pending(#channel{count = Count}) -> Count > 0.

%% @doc Write what is pending. Never waits: the port's busy limits are off. A port that has just closed says so in a
%% message of its own.
-spec flush(channel()) -> channel().
flush(#channel{count = 0} = Channel) ->
    Channel;
flush(#channel{port = Port, pending = Pending} = Channel) ->
    try port_command(Port, lists:reverse(Pending)) of
        true -> ok
    catch
        error:badarg -> ok
    end,
    Channel#channel{pending = [], count = 0}.

%% @doc The frames that these bytes complete, in order; `{error, Head}' where bytes are no frame of the protocol.
-spec data(binary(), channel()) -> {ok, [binary()], channel()} | {error, Head :: binary()}.
data(Data, #channel{input = Input, most_bytes = Most} = Channel) ->
    case py_wire:split(Data, Input, Most) of
        {ok, Frames, Rest} -> {ok, Frames, Channel#channel{input = Rest}};
        {error, _} = Error -> Error
    end.
