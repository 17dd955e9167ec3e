%%% @doc Frames for a stream port: many in one write.
%%%
%%% The port is opened as a stream and the frames' lengths are written here. So all that a worker has to say
%%% while its mailbox is not empty goes out in one system call, and Python wakes up once for it; a port in
%%% `{packet, 4}' makes a system call, and mostly a wake-up, of every frame.
%%% @private
-module(py_channel).

-export([new/1, write/2, write_all/3, is_pending/1, flush/1]).
-export_type([channel/0]).

-record(channel, {
    port :: port(),
    %% Frames that are still to be written, newest first.
    pending = [] :: [iodata()],
    count = 0 :: non_neg_integer()
}).
-opaque channel() :: #channel{}.

%% So many frames are worth a system call, whatever else is in the mailbox.
-define(MOST_PENDING, 64).

%% @doc A channel to this port, whoever owns it.
-spec new(port()) -> channel().
new(Port) -> #channel{port = Port}.

%% @doc Add a frame to what {@link flush/1} writes.
-spec write(iodata(), channel()) -> channel().
write(Frame, Channel) -> write_all([py_wire:frame(Frame)], 1, Channel).

%% @doc The same for some that have their lengths, newest first.
-spec write_all([iodata()], Count :: pos_integer(), channel()) -> channel().
write_all(Frames, More, #channel{pending = Pending, count = Count} = Channel) ->
    Next = Channel#channel{pending = Frames ++ Pending, count = Count + More},
    case Count + More > ?MOST_PENDING of
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
