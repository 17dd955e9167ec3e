%%% @doc Texts of others, as the page may show them: UTF-8 of a bounded length. Pure.
%%% @private
-module(py_page_text).

-export([clean/2]).

%% @doc Whole characters, at most so many bytes of them; what is no text is shown as what it is.
-spec clean(term(), MostBytes :: pos_integer()) -> binary().
clean(Text, Most) when is_binary(Text) ->
    case byte_size(Text) > Most of
        true -> iolist_to_binary([utf8(binary:part(Text, 0, Most)), "..."]);
        false -> utf8(Text)
    end;
clean(Term, Most) ->
    clean(unicode:characters_to_binary(io_lib:format("~0tP", [Term, 20])), Most).

utf8(Bytes) -> iolist_to_binary(characters(Bytes)).

characters(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Good when is_binary(Good) -> Good;
        {incomplete, Good, _} -> [Good, <<16#FFFD/utf8>>];
        {error, Good, <<_, Rest/binary>>} -> [Good, <<16#FFFD/utf8>> | characters(Rest)]
    end.
