%%% @doc The file in which every change of a run is written, and synced, before anybody acts on it.
%%%
%%% ```
%%%   "py journal 1\n"
%%%   <<Size:32, Crc:32, Payload:Size/binary>> ...        the payload is a term in the external format, read with `safe'
%%% '''
%%%
%%% `Crc' is `erlang:crc32/1' of the payload. A batch is one write and one `fdatasync'. Of a write that did not come to its end, because
%%% the machine, the BEAM or the disk gave out, the records before the torn one count; the rest is cut off at the next start, and where
%%% the disk was full, written again at the same place. A record in the middle that can't be read is passed over, and told.
%%%
%%% (OTP's `disk_log' takes 1.2 ms for what takes 0.2 ms so, and does not say which records a failed write left.)
%%% @private
-module(py_run_journal).

-export([open/1, read/3, tell/1, write/2, size/1, close/1, rewrite/2, renewed/2]).
-export_type([journal/0, damage/0]).

-record(journal, {file :: file:fd(), path :: file:filename_all(), size :: non_neg_integer()}).
-opaque journal() :: #journal{}.
-type damage() :: #{cut := non_neg_integer(), unreadable := non_neg_integer()}.
%% How many bytes at the end, and how many records before it, could not be read.

-define(HEAD, "py journal ").
-define(VERSION, "1").
-define(HEADER, <<?HEAD, ?VERSION, "\n">>).
-define(CHUNK_BYTES, 1 bsl 20).
-define(MOST_RECORD_BYTES, 1 bsl 26).

%% @doc Open it, made where there is none; {@link read/3} comes before anything is written.
-spec open(file:filename_all()) -> {ok, journal()} | {error, file:posix() | {version, binary()}}.
open(Path) ->
    case file:open(Path, [read, write, raw, binary]) of
        {ok, File} ->
            _ = file:change_mode(Path, 8#600),
            case begun(File) of
                ok -> {ok, #journal{file = File, path = Path, size = byte_size(?HEADER)}};
                {error, _} = Error -> _ = file:close(File), Error
            end;
        {error, _} = Error ->
            Error
    end.

begun(File) ->
    case file:pread(File, 0, byte_size(?HEADER)) of
        {ok, ?HEADER} -> ok;
        eof -> write_header(File);
        %% Its first write was torn.
        {ok, Torn} when byte_size(Torn) < byte_size(?HEADER) ->
            case binary:longest_common_prefix([Torn, ?HEADER]) =:= byte_size(Torn) of
                true -> write_header(File);
                false -> {error, {version, Torn}}
            end;
        {ok, Other} -> {error, {version, Other}};
        {error, _} = Error -> Error
    end.

write_header(File) ->
    case file:pwrite(File, 0, ?HEADER) of
        ok -> file:datasync(File);
        Error -> Error
    end.

%% @doc Fold its records, and cut off what is torn at its end.
-spec read(fun((term(), Acc) -> Acc), Acc, journal()) -> {ok, Acc, damage(), journal()} | {error, file:posix()}.
read(Fun, Acc, #journal{file = File} = Journal) ->
    {Folded, Unreadable, Size, End} = fold(File, byte_size(?HEADER), <<>>, Fun, Acc, 0),
    case Size =:= End orelse cut(File, Size) of
        Cut when Cut =:= true; Cut =:= ok -> {ok, Folded, #{cut => End - Size, unreadable => Unreadable}, Journal#journal{size = Size}};
        {error, _} = Error -> Error
    end.

cut(File, Size) ->
    {ok, Size} = file:position(File, Size),
    case file:truncate(File) of
        ok -> file:datasync(File);
        Error -> Error
    end.

%% `At' is where `Bytes' begin. The end of what is whole, and that of the file.
fold(File, At, Bytes, Fun, Acc, Unreadable) ->
    case record(Bytes) of
        {ok, Payload, Size, Rest} ->
            {Next, Bad} = taken(Payload, Fun, Acc),
            fold(File, At + Size, Rest, Fun, Next, Unreadable + Bad);
        {bad, Size, Rest} ->
            %% In the middle there is a whole one behind it.
            case is_followed(File, At + Size, Rest) of
                true -> fold(File, At + Size, Rest, Fun, Acc, Unreadable + 1);
                false -> {Acc, Unreadable, At, end_of(File)}
            end;
        none ->
            {Acc, Unreadable, At, end_of(File)};
        more ->
            case file:pread(File, At + byte_size(Bytes), ?CHUNK_BYTES) of
                {ok, More} -> fold(File, At, <<Bytes/binary, More/binary>>, Fun, Acc, Unreadable);
                _ -> {Acc, Unreadable, At, end_of(File)}
            end
    end.

end_of(File) ->
    {ok, End} = file:position(File, eof),
    End.

record(<<Size:32, Crc:32, Payload:Size/binary, Rest/binary>>) when Size =< ?MOST_RECORD_BYTES ->
    case erlang:crc32(Payload) of
        Crc when Size > 0 -> {ok, Payload, 8 + Size, Rest};
        _ -> {bad, 8 + Size, Rest}
    end;
record(<<Size:32, _/binary>>) when Size > ?MOST_RECORD_BYTES ->
    none;
record(_) ->
    more.

is_followed(File, At, Rest) ->
    case record(Rest) of
        {ok, _, _, _} -> true;
        more ->
            case file:pread(File, At + byte_size(Rest), ?CHUNK_BYTES) of
                {ok, More} -> element(1, record_or_none(<<Rest/binary, More/binary>>)) =:= ok;
                _ -> false
            end;
        _ -> false
    end.

record_or_none(Bytes) ->
    case record(Bytes) of
        {ok, _, _, _} = Whole -> Whole;
        _ -> {none}
    end.

taken(Payload, Fun, Acc) ->
    try binary_to_term(Payload, [safe]) of
        Term -> {Fun(Term, Acc), 0}
    catch
        error:badarg -> {Acc, 1}
    end.

%% @doc Say in the log what could not be read.
-spec tell(damage()) -> ok.
tell(#{cut := 0, unreadable := 0}) ->
    ok;
tell(#{cut := Cut, unreadable := 0}) ->
    logger:notice("runs: the journal's last write was torn; ~w bytes of it were cut off", [Cut], #{domain => [py]});
tell(#{cut := Cut, unreadable := Unreadable}) ->
    logger:error("runs: ~w records of the journal could not be read, and ~w bytes at its end", [Unreadable, Cut], #{domain => [py]}).

%% @doc The journal written anew with these terms; as it is where that can't be done, which is told in the log.
-spec renewed([term()], journal()) -> journal().
renewed(Terms, Journal) ->
    case rewrite(Terms, Journal) of
        {ok, Fresh} -> Fresh;
        {error, Reason, Same} ->
            logger:warning("runs: the journal could not be written anew: ~ts", [file:format_error(Reason)], #{domain => [py]}),
            Same
    end.

%% @doc Write these terms and sync them. After an error nothing of it counts: it is to be written again, with this journal.
-spec write([term()], journal()) -> {ok, journal()} | {error, file:posix(), journal()}.
write([], Journal) ->
    {ok, Journal};
write(Terms, #journal{file = File, size = Size} = Journal) ->
    Bytes = [framed(Term) || Term <- Terms],
    case file:pwrite(File, Size, Bytes) of
        ok ->
            case file:datasync(File) of
                ok -> {ok, Journal#journal{size = Size + iolist_size(Bytes)}};
                {error, Reason} -> failed(Reason, Journal)
            end;
        {error, Reason} ->
            failed(Reason, Journal)
    end.

%% What has come to the disk of it is not to be read by a later start: whoever wanted it was told that it is not there.
failed(Reason, #journal{size = Size} = Journal) ->
    #journal{file = File} = Again = reopened(Journal),
    _ = file:position(File, Size),
    _ = file:truncate(File),
    {error, Reason, Again}.

%% What the kernel could not write it may have dropped, and forgets to say so again: the next write begins at the same place.
reopened(#journal{file = File, path = Path} = Journal) ->
    case file:open(Path, [read, write, raw, binary]) of
        {ok, Again} ->
            _ = file:close(File),
            Journal#journal{file = Again};
        {error, _} ->
            Journal
    end.

framed(Term) ->
    Payload = term_to_binary(Term),
    [<<(byte_size(Payload)):32, (erlang:crc32(Payload)):32>>, Payload].

%% @doc How many bytes it has.
-spec size(journal()) -> non_neg_integer().
size(#journal{size = Size}) -> Size.

-spec close(journal()) -> ok.
close(#journal{file = File}) ->
    _ = file:close(File),
    ok.

%% @doc Put one with these terms in its place: written under another name, synced, renamed.
-spec rewrite([term()], journal()) -> {ok, journal()} | {error, file:posix(), journal()}.
rewrite(Terms, #journal{path = Path, file = Before} = Journal) ->
    New = filename:join(filename:dirname(Path), <<"journal.new">>),
    case file:open(New, [write, raw, binary, {delayed_write, ?CHUNK_BYTES, 1_000}]) of
        {ok, File} ->
            _ = file:change_mode(New, 8#600),
            case rewritten(Terms, File) of
                {ok, Size} ->
                    case swapped(New, Path) of
                        {ok, Fresh} ->
                            _ = file:close(Before),
                            {ok, Journal#journal{file = Fresh, size = Size}};
                        {error, Reason} ->
                            {error, Reason, Journal}
                    end;
                {error, Reason} ->
                    _ = file:delete(New),
                    {error, Reason, Journal}
            end;
        {error, Reason} ->
            {error, Reason, Journal}
    end.

rewritten(Terms, File) ->
    Bytes = fun
        Each([], Size) -> {ok, Size};
        Each([Term | Rest], Size) ->
            Framed = framed(Term),
            case file:write(File, Framed) of
                ok -> Each(Rest, Size + iolist_size(Framed));
                Error -> Error
            end
    end,
    Written = case file:write(File, ?HEADER) of
        ok -> Bytes(Terms, byte_size(?HEADER));
        Error -> Error
    end,
    Synced = file:sync(File),
    Closed = file:close(File),
    case {Written, Synced, Closed} of
        {{ok, Size}, ok, ok} -> {ok, Size};
        _ -> hd([Failed || {error, _} = Failed <- [Written, Synced, Closed]])
    end.

swapped(New, Path) ->
    case file:open(New, [read, write, raw, binary]) of
        {ok, File} ->
            case file:rename(New, Path) of
                ok -> py_store:sync_directory(filename:dirname(Path)), {ok, File};
                Error -> _ = file:close(File), Error
            end;
        Error ->
            Error
    end.
